with won as (
    insert into tower_inbox.inbox (key, expires_at, consumer)
    select
        $2,
        ceil(coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800) + $3)::int4,
        $1
    where pg_try_advisory_xact_lock($4)
    on conflict do nothing
    returning 1
)
select case
    when exists (select from won) then 1::int2
    else tower_inbox.contend($1, $2, $3, $4, $5, $6)
end
