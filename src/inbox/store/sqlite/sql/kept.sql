select r.fingerprint, r.response
from tower_inbox_record r
join tower_inbox_inbox i
  on i.consumer = r.consumer and i.key = r.key and i.expires_at = r.expires_at
where r.consumer = ?1
  and r.key = ?2
