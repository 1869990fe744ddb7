with now as materialized (
    select floor(tower_inbox.now_s($5))::int4 as s
),
next as (
    select d.consumer, d.key
    from tower_inbox.dead_letter d
    join tower_inbox.consumer c
      on c.id = d.consumer
    cross join now
    where c.name = $1
      and d.requeued_at is not null
      and d.payload is not null
      and (d.taken_until is null or d.taken_until <= now.s)
      and (d.requeued_at, d.key) > ($2, $3)
    order by d.requeued_at, d.key
    limit 1
    for update of d skip locked
)
update tower_inbox.dead_letter d
set taken_until = now.s + $4
from next, now
where d.consumer = next.consumer
  and d.key = next.key
returning d.consumer, d.key, d.deaths, d.requeued_at, d.payload
