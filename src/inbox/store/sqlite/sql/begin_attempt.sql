insert into tower_inbox_attempt as a (consumer, key, started, finished, first_at, last_at)
values (?1, ?2, 1, 0, ?3, ?3)
on conflict (consumer, key) do update
set started = a.started + 1,
    last_at = excluded.last_at
returning started, finished
