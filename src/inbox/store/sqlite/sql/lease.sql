insert into tower_inbox_lease as l (consumer, key, token, attempt, lease_until, owner)
values (?1, ?2, ?3, 1, ?4, ?5)
on conflict (consumer, key) do update
set token = excluded.token,
    attempt = l.attempt + 1,
    lease_until = excluded.lease_until,
    owner = excluded.owner
returning attempt
