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
    length(d.payload)
from tower_inbox_dead_letter d
join tower_inbox_consumer c
  on c.id = d.consumer
where (?1 is null or c.name = ?1)
  and (?2 is null or ?2 = case when d.requeued_at is null then 'dead' else 'requeued' end)
  and (-d.died_at, d.consumer, d.key) > (?3, ?4, ?5)
order by -d.died_at, d.consumer, d.key
limit ?6
