with claimed as (
    select *
    from (
        select
            i.key,
            i.expires_at,
            case
                when i.expires_at <= ?5 then 'expired'
                when l.key is not null then 'leased'
                when d.key is not null then 'dead'
                else 'handled'
            end as state,
            coalesce(l.attempt, a.started, d.started, 0) as attempts
        from tower_inbox_inbox i
        left join tower_inbox_lease l
          on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
        left join tower_inbox_dead_letter d
          on d.consumer = i.consumer and d.key = i.key and d.claimed_until = i.expires_at
         and d.requeued_at is null
        left join tower_inbox_attempt a
          on a.consumer = i.consumer and a.key = i.key
        where i.consumer = ?1
          and i.key > ?2
    )
    where ?3 is null
       or state = ?3
    order by key
    limit ?4
),
failing as (
    select a.key, null as expires_at, 'failing' as state, a.started as attempts
    from tower_inbox_attempt a
    where a.consumer = ?1
      -- What is only marked is part of a batch that is under way.
      and a.started > 0
      and a.key > ?2
      and (?3 is null or ?3 = 'failing')
      and not exists (
          select 1
          from tower_inbox_inbox i
          where i.consumer = a.consumer and i.key = a.key
      )
    order by a.key
    limit ?4
)
select key, expires_at, state, attempts
from claimed
union all
select key, expires_at, state, attempts
from failing
order by key
limit ?4
