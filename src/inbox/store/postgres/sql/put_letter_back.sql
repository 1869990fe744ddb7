update tower_inbox.dead_letter
set taken_until = floor(tower_inbox.now_s($5))::int4 + $4
where consumer = $1
  and key = $2
  and deaths = $3
  and requeued_at is not null
