update tower_inbox_dead_letter
set taken_until = ?4
where consumer = ?1
  and key = ?2
  and deaths = ?3
  and requeued_at is not null
