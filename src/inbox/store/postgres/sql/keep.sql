insert into tower_inbox.record (key, expires_at, consumer, fingerprint, response)
select i.key, i.expires_at, i.consumer, $3, $4
from tower_inbox.inbox i
where i.consumer = $1
  and i.key = $2
on conflict (consumer, key) do update
set expires_at = excluded.expires_at,
    fingerprint = excluded.fingerprint,
    response = excluded.response
