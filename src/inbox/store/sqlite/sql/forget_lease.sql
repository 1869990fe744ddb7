delete from tower_inbox_lease
where consumer = ?1
  and key = ?2
