select
    c.name,
    d.consumer,
    d.key,
    d.started,
    d.finished,
    d.first_at,
    d.died_at,
    d.deaths,
    d.requeued_at,
    d.reason,
    length(d.payload),
    d.payload
from tower_inbox_dead_letter d
join tower_inbox_consumer c
  on c.id = d.consumer
where d.consumer = ?1
  and d.key = ?2
