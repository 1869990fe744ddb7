with recursive asked (place) as (
    select 0
    union all
    select place + 1
    from asked
    where 16 * (place + 1) < length(?2)
)
select i.key, l.lease_until is not null
from asked a
cross join tower_inbox_inbox i
  on i.consumer = ?1 and i.key = substr(?2, 16 * a.place + 1, 16)
left join tower_inbox_lease l
  on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
where i.expires_at > ?3
