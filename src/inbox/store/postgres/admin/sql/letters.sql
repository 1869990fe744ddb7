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
    length(d.payload)::int8
from tower_inbox.dead_letter d
join tower_inbox.consumer c
  on c.id = d.consumer
where ($1 is null or c.name = $1)
  and ($2 is null or $2 = case when d.requeued_at is null then 'dead' else 'requeued' end)
  and (-d.died_at::int8, d.consumer, d.key) > ($3, $4, $5)
order by -d.died_at::int8, d.consumer, d.key
limit $6
