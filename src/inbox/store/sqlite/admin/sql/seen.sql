select
    i.expires_at,
    l.owner,
    l.lease_until,
    l.token,
    l.attempt,
    d.claimed_until,
    d.requeued_at,
    d.payload is not null,
    a.started,
    a.finished,
    a.first_at,
    a.last_at,
    a.last_error,
    r.key is not null,
    r.fingerprint,
    length(r.response)
from (select ?2 as key) k
left join tower_inbox_inbox i
  on i.consumer = ?1 and i.key = k.key
left join tower_inbox_lease l
  on l.consumer = ?1 and l.key = k.key
left join tower_inbox_dead_letter d
  on d.consumer = ?1 and d.key = k.key
left join tower_inbox_attempt a
  on a.consumer = ?1 and a.key = k.key
left join tower_inbox_record r
  on r.consumer = ?1 and r.key = k.key and r.expires_at = i.expires_at
