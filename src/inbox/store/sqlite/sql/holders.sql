with recursive asked (place) as (
    select 0
    union all
    select place + 1
    from asked
    where 16 * (place + 1) < length(?2)
)
select i.key, i.expires_at, l.lease_until is not null, c.window_s
from asked a
cross join tower_inbox_inbox i
  on i.consumer = ?1 and i.key = substr(?2, 16 * a.place + 1, 16)
left join tower_inbox_lease l
  on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
left join tower_inbox_consumer c
  on c.id = i.consumer
where i.expires_at > ?3
