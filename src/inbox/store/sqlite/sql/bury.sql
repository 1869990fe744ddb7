insert into tower_inbox_dead_letter as d (
    consumer, key, started, finished, first_at, died_at, claimed_until, reason, payload
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
on conflict (consumer, key) do update
set started = excluded.started,
    finished = excluded.finished,
    died_at = excluded.died_at,
    deaths = d.deaths + 1,
    claimed_until = excluded.claimed_until,
    requeued_at = null,
    taken_until = null,
    reason = excluded.reason,
    payload = coalesce(excluded.payload, d.payload)
