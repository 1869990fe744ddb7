delete from tower_inbox_record
where consumer = ?1
  and key = ?2
