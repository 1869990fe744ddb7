-- Cheaper duplicates. A function in SQL that reads a table is parsed and planned again in each
-- transaction that calls it, unless it becomes part of the statement that does, and that costs ten
-- times as much as the look. Functions in PL/pgSQL keep their plans for as long as the session lasts.
--
-- Such a plan is an index probe however small the table was when it was made, which the `set` clauses
-- see to: it may be large a minute later.

-- Whether a message is handled, or held by a lease; as before.
create or replace function tower_inbox.holder(
    consumer_id int2, inbox_key uuid, now_s float8
) returns text
language plpgsql stable
set enable_seqscan = off
as $$
begin
    return (
        select case when l.key is null then 'claim' else 'lease' end
        from tower_inbox.inbox i
        left join tower_inbox.lease l
          on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
        where i.consumer = consumer_id and i.key = inbox_key and i.expires_at > floor(now_s)
    );
end $$;

-- How long ago a message was handled; as before.
create or replace function tower_inbox.age_s(
    consumer_id int2, inbox_key uuid, now_s float8
) returns int8
language plpgsql stable
set enable_seqscan = off
as $$
begin
    return (
        select greatest(floor(now_s)::int8 - (i.expires_at - c.window_s), 0)
        from tower_inbox.inbox i
        join tower_inbox.consumer c on c.id = i.consumer
        where i.consumer = consumer_id and i.key = inbox_key
          -- An expiry is rounded up.
          and i.expires_at - c.window_s <= ceil(now_s)
    );
end $$;

-- The slow half of a claim, entered when a row is there already or another delivery is at work. Removes
-- an expired claim, so that the insert which asked finds room, and returns when the new one ends; or
-- says who is there: TI001 a duplicate, with its age as the detail, TI002 in flight.
--
-- It looks as `holder` and `age_s` do, in one statement of its own.
--
-- The first `set` clause is not about its value: it makes PostgreSQL restore the caller's lock_timeout
-- when the function returns.
create or replace function tower_inbox.make_room(
    consumer_id int2, inbox_key uuid, window_s int4, lock_id int8, wait_ms int4, at float8
) returns int4
language plpgsql
set lock_timeout = 0
set enable_seqscan = off
as $$
declare
    now_s float8;
    held_by text;
    held_for int8;
    locked boolean := false;
begin
    loop
        -- A statement of its own: it sees what was committed while the lock was waited for.
        now_s := tower_inbox.now_s(at);
        select
            case
                when i.expires_at = (
                    select l.lease_until
                    from tower_inbox.lease l
                    where l.consumer = consumer_id and l.key = inbox_key
                )
                then 'lease'
                else 'claim'
            end,
            (
                select greatest(floor(now_s)::int8 - (i.expires_at - c.window_s), 0)
                from tower_inbox.consumer c
                where c.id = consumer_id and i.expires_at - c.window_s <= ceil(now_s)
            )
        into held_by, held_for
        from tower_inbox.inbox i
        where i.consumer = consumer_id and i.key = inbox_key and i.expires_at > floor(now_s);

        -- A committed claim is seen without the lock: else the duplicates of one message would queue
        -- for it, and be told of each other as in flight.
        if held_by = 'claim' then
            raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
                detail = coalesce(held_for::text, '');
        elsif not locked then
            if wait_ms > 0 then
                perform set_config('lock_timeout', wait_ms::text, true);
                begin
                    perform pg_advisory_xact_lock(lock_id);
                exception when lock_not_available then
                    raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
                end;
                perform set_config('lock_timeout', '0', true);
            elsif not pg_try_advisory_xact_lock(lock_id) then
                raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
            end if;
            locked := true;
            continue;
        elsif held_by = 'lease' then
            raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
        end if;

        delete from tower_inbox.inbox i
        where i.consumer = consumer_id and i.key = inbox_key and i.expires_at <= floor(now_s);
        if found then
            delete from tower_inbox.lease l
            where l.consumer = consumer_id and l.key = inbox_key;
            exit;
        end if;
        -- Swept, released, or never there. Else its lease was extended a moment ago: look again.
        exit when not exists (
            select from tower_inbox.inbox i
            where i.consumer = consumer_id and i.key = inbox_key
        );
    end loop;
    return ceil(now_s + window_s)::int4;
end $$;

-- Says which messages were tried before, and failed or did not come back; as before. The places are
-- made first: with a query among its arguments `holders` does not become part of the statement.
create or replace function tower_inbox.begin_together(
    consumer_id int2, keys uuid[], mark boolean, at float8
) returns boolean[]
language plpgsql
as $$
declare
    now_s float8 := tower_inbox.now_s(at);
    places int4[] := array(select generate_series(1, cardinality(keys)));
    tried boolean[] := array(
        select (
            select true
            from tower_inbox.attempt a
            where a.consumer = consumer_id and a.key = k.key
        ) is not null
        from unnest(keys) with ordinality as k(key, place)
        order by k.place
    );
begin
    if mark then
        perform set_config('synchronous_commit', 'off', true);
        -- In the order of the keys, as everybody does it.
        insert into tower_inbox.attempt (consumer, key, started, finished, first_at, last_at)
        select consumer_id, keys[h.place], 0, 0, floor(now_s)::int4, floor(now_s)::int4
        from tower_inbox.holders(consumer_id, keys, places, now_s) h
        where h.held_by is null and not tried[h.place]
        order by keys[h.place]
        on conflict do nothing;
    end if;
    return tried;
end $$;

-- How long ago a message was handled; as before.
create or replace function tower_inbox.bucket_age(
    consumer_id int2, ends int4, now_s float8
) returns int8
language plpgsql stable
set enable_seqscan = off
as $$
begin
    return (
        select greatest(floor(now_s)::int8 - (ends - c.window_s), 0)
        from tower_inbox.consumer c
        where c.id = consumer_id and ends - c.window_s <= ceil(now_s)
    );
end $$;

-- Whether what ends then is a lease; as before.
create or replace function tower_inbox.bucket_is_lease(
    consumer_id int2, inbox_key uuid, ends int4
) returns boolean
language plpgsql stable
set enable_seqscan = off
as $$
begin
    return exists (
        select from tower_inbox.lease l
        where l.consumer = consumer_id and l.key = inbox_key and l.lease_until = ends
    );
end $$;

-- When the committed claim of a message ends, for those who do not hold its lock; as before.
create or replace function tower_inbox.bucket_claimed(
    consumer_id int2, inbox_key uuid, now_s float8
) returns int4
language plpgsql stable
set enable_seqscan = off
as $$
begin
    return (
        select b.expires_at
        from tower_inbox.bucket b
        where b.consumer = consumer_id and b.key = inbox_key and b.expires_at > floor(now_s)
          and not exists (
              select from tower_inbox.lease l
              where l.consumer = b.consumer and l.key = b.key and l.lease_until = b.expires_at
          )
        limit 1
    );
end $$;

-- Which messages are handled, in the order of the keys: how long ago, -1 where that is not known, null
-- where they are not. As before, in one statement, whose plan is kept whatever the number of keys: one
-- that is made for a few looks cheaper than it, and takes longer to make than to execute.
create or replace function tower_inbox.bucket_handled(
    consumer_id int2, keys uuid[], at float8
) returns int8[]
language plpgsql
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    now_s float8 := tower_inbox.now_s(at);
    in_s int4 := (select c.window_s from tower_inbox.consumer c where c.id = consumer_id);
begin
    return array(
        select (
            select case
                when b.expires_at - in_s <= ceil(now_s)
                then greatest(floor(now_s)::int8 - (b.expires_at - in_s), 0)
                else -1
            end
            from tower_inbox.bucket b
            where b.consumer = consumer_id and b.key = k.key and b.expires_at > floor(now_s)
              and b.expires_at is distinct from (
                  select l.lease_until
                  from tower_inbox.lease l
                  where l.consumer = consumer_id and l.key = k.key
              )
            limit 1
        )
        from unnest(keys) with ordinality as k(key, place)
        order by k.place
    );
end $$;
