update tower_inbox_lease
set lease_until = ?3
where consumer = ?1
  and key = ?2
