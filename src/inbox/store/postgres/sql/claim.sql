insert into tower_inbox.inbox (key, expires_at, consumer)
values (
    $1,
    case
        when pg_try_advisory_xact_lock($2)
            and not exists (select from tower_inbox.inbox where consumer = $3 and key = $1)
        then ceil(coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800) + $4)::int4
        else tower_inbox.make_room($3, $1, $4, $2, $5, $6)
    end,
    $3
)
