insert into tower_inbox_inbox (consumer, key, expires_at)
values (?1, ?2, ?3)
on conflict (consumer, key) do update
set expires_at = excluded.expires_at
