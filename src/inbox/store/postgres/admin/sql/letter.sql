select
    c.name,
    d.consumer,
    d.key,
    d.started,
    d.finished,
    d.first_at::int8,
    d.died_at::int8,
    d.deaths,
    d.requeued_at::int8,
    d.reason,
    length(d.payload)::int8,
    d.payload
from tower_inbox.dead_letter d
join tower_inbox.consumer c
  on c.id = d.consumer
where d.consumer = $1
  and d.key = $2
