with asked as (
    select a.key, a.lock_id, a.place::int4 as place
    from unnest($2, $3) with ordinality as a(key, lock_id, place)
), won as (
    insert into tower_inbox.inbox (key, expires_at, consumer)
    select
        a.key,
        ceil(coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800) + $4)::int4,
        $1
    from asked a
    where pg_try_advisory_xact_lock(a.lock_id)
    on conflict do nothing
    returning key
)
select case
    when (select count(*) from won) = cardinality($2) then 1::int2
    else tower_inbox.contend_batch(
        $1, $2, $3,
        array(
            select a.place
            from asked a
            where not exists (select from won w where w.key = a.key)
            order by a.place
        ),
        $4, $5, $6
    )
end
