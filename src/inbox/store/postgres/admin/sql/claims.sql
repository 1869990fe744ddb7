with now as materialized (
    select floor(tower_inbox.now_s($5))::int4 as s
),
claimed as (
    select *
    from (
        select
            i.key,
            i.expires_at,
            case
                when i.expires_at <= now.s then 'expired'
                when l.key is not null then 'leased'
                when d.key is not null then 'dead'
                else 'handled'
            end as state,
            coalesce(l.attempt, a.started, d.started, 0) as attempts
        from tower_inbox.inbox i
        cross join now
        left join tower_inbox.lease l
          on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
        left join tower_inbox.dead_letter d
          on d.consumer = i.consumer and d.key = i.key and d.claimed_until = i.expires_at
         and d.requeued_at is null
        left join tower_inbox.attempt a
          on a.consumer = i.consumer and a.key = i.key
        where i.consumer = $1
          and ($2 is null or i.key > $2)
    ) c
    where $3 is null
       or c.state = $3
    order by c.key
    limit $4
),
failing as (
    select a.key, null::int4 as expires_at, 'failing' as state, a.started as attempts
    from tower_inbox.attempt a
    where a.consumer = $1
      -- What is only marked is part of a batch that is under way.
      and a.started > 0
      and ($2 is null or a.key > $2)
      and ($3 is null or $3 = 'failing')
      and not exists (
          select from tower_inbox.inbox i
          where i.consumer = a.consumer and i.key = a.key
      )
    order by a.key
    limit $4
)
select u.key, u.expires_at::int8, u.state, u.attempts, now.s::int8
from (table claimed union all table failing) u
cross join now
order by u.key
limit $4
