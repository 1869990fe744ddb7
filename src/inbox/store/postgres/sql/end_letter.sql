delete from tower_inbox.dead_letter
where consumer = $1
  and key = $2
  and deaths = $3
  and requeued_at is not null
