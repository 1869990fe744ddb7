with now as materialized (
    select floor(tower_inbox.now_s(null))::int4 as s
)
select
    c.name,
    c.window_s::int8,
    count(i.key) filter (where i.expires_at > now.s and l.key is null),
    count(l.key),
    count(i.key) filter (where i.expires_at <= now.s)
from tower_inbox.consumer c
cross join now
left join tower_inbox.inbox i
  on i.consumer = c.id
left join tower_inbox.lease l
  on l.consumer = i.consumer
 and l.key = i.key
 and l.lease_until > now.s
 and i.expires_at > now.s
group by c.id
order by c.name
