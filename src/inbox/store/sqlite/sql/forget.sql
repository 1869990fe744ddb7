delete from tower_inbox_inbox
where consumer = ?1
  and key = ?2
