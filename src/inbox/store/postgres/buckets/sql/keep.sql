insert into tower_inbox.record (key, expires_at, consumer, fingerprint, response)
select $2, c.ends, $1, $3, $4
from tower_inbox.bucket_ends($1, $2, tower_inbox.now_s($5)) as c(ends)
where c.ends is not null
on conflict (consumer, key) do update
set expires_at = excluded.expires_at,
    fingerprint = excluded.fingerprint,
    response = excluded.response
