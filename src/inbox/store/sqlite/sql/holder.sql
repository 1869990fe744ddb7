select i.expires_at, l.lease_until
from tower_inbox_inbox i
left join tower_inbox_lease l
  on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
where i.consumer = ?1
  and i.key = ?2
