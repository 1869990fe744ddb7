insert into tower_inbox_record (consumer, key, expires_at, fingerprint, response)
select i.consumer, i.key, i.expires_at, ?3, ?4
from tower_inbox_inbox i
where i.consumer = ?1
  and i.key = ?2
on conflict (consumer, key) do update
set expires_at = excluded.expires_at,
    fingerprint = excluded.fingerprint,
    response = excluded.response
