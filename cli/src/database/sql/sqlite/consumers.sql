with now as (
    select unixepoch() - 1577836800 as s
)
select
    c.name,
    c.window_s,
    count(i.key) filter (where i.expires_at > now.s and l.key is null),
    count(l.key),
    count(i.key) filter (where i.expires_at <= now.s)
from tower_inbox_consumer c
cross join now
left join tower_inbox_inbox i
  on i.consumer = c.id
left join tower_inbox_lease l
  on l.consumer = i.consumer
 and l.key = i.key
 and l.lease_until > now.s
 and i.expires_at > now.s
group by c.id
order by c.name
