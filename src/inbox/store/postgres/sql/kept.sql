select r.fingerprint, r.response
from tower_inbox.record r
join tower_inbox.inbox i
  on i.consumer = r.consumer and i.key = r.key and i.expires_at = r.expires_at
where r.consumer = $1
  and r.key = $2
