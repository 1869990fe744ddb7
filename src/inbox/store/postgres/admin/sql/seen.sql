select
    floor(tower_inbox.now_s($4))::int8,
    i.expires_at::int8,
    l.owner,
    l.lease_until::int8,
    l.token,
    l.attempt,
    d.claimed_until::int8,
    d.requeued_at::int8,
    d.payload is not null,
    a.started,
    a.finished,
    a.first_at::int8,
    a.last_at::int8,
    a.last_error,
    r.key is not null,
    r.fingerprint,
    length(r.response)::int8,
    exists (
        select from pg_locks
        where locktype = 'advisory'
          and granted
          and database = (select oid from pg_database where datname = current_database())
          and classid = (($3 >> 32) & 4294967295)::oid
          and objid = ($3 & 4294967295)::oid
          and objsubid = 1
    )
from (select $2 as key) k
left join tower_inbox.inbox i
  on i.consumer = $1 and i.key = k.key
left join tower_inbox.lease l
  on l.consumer = $1 and l.key = k.key
left join tower_inbox.dead_letter d
  on d.consumer = $1 and d.key = k.key
left join tower_inbox.attempt a
  on a.consumer = $1 and a.key = k.key
left join tower_inbox.record r
  on r.consumer = $1 and r.key = k.key and r.expires_at = i.expires_at
