with now as materialized (
    select floor(tower_inbox.now_s($1))::int4 as s
),
claim as (
    select i.consumer, i.key, i.expires_at
    from tower_inbox.inbox i
    join tower_inbox.consumer c
      on c.id = i.consumer and c.store <> 'buckets'
    union all
    select b.consumer, b.key, b.expires_at
    from tower_inbox.bucket b
    join tower_inbox.consumer c
      on c.id = b.consumer and c.store = 'buckets'
),
claims as (
    select
        i.consumer,
        count(*) filter (where i.expires_at > now.s and l.key is null and d.key is null) as live,
        count(*) filter (where i.expires_at > now.s and l.key is not null) as in_flight,
        count(*) filter (where i.expires_at <= now.s) as expired
    from claim i
    cross join now
    left join tower_inbox.lease l
      on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
    left join tower_inbox.dead_letter d
      on d.consumer = i.consumer and d.key = i.key and d.claimed_until = i.expires_at
     and d.requeued_at is null
    group by i.consumer
),
letters as (
    select
        d.consumer,
        count(*) filter (where d.requeued_at is null) as dead,
        count(*) filter (where d.requeued_at is not null) as requeued
    from tower_inbox.dead_letter d
    group by d.consumer
)
select
    c.name,
    c.window_s::int8,
    c.key_probe,
    coalesce(i.live, 0),
    coalesce(i.in_flight, 0),
    coalesce(i.expired, 0),
    coalesce(d.dead, 0),
    coalesce(d.requeued, 0)
from tower_inbox.consumer c
left join claims i
  on i.consumer = c.id
left join letters d
  on d.consumer = c.id
order by c.name
