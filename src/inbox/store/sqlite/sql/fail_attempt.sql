insert into tower_inbox_attempt as a (
    consumer, key, started, finished, first_at, last_at, last_error
)
values (?1, ?2, 1, 1, ?5, ?5, ?3)
on conflict (consumer, key) do update
set started = a.started + ?4,
    finished = a.finished + 1,
    last_at = excluded.last_at,
    last_error = excluded.last_error
returning started, finished
