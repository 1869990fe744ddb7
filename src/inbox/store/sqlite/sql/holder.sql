select i.expires_at, l.lease_until, c.window_s
from tower_inbox_inbox i
left join tower_inbox_lease l
  on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
left join tower_inbox_consumer c
  on c.id = i.consumer
where i.consumer = ?1
  and i.key = ?2
