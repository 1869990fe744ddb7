-- Which messages are handled, in the order of the keys: how long ago, -1 where that is not known, null
-- where they are not.
create or replace function tower_inbox.bucket_handled(
    consumer_id int2, keys uuid[], at float8
) returns int8[]
language plpgsql
as $$
declare
    now_s float8 := tower_inbox.now_s(at);
begin
    return array(
        select case
            when c.ends is not null
            then coalesce(tower_inbox.bucket_age(consumer_id, c.ends, now_s), -1)
        end
        from unnest(keys) with ordinality as k(key, place)
        cross join lateral (
            select tower_inbox.bucket_claimed(consumer_id, k.key, now_s)
        ) as c(ends)
        order by k.place
    );
end $$;

-- When the committed claim of a message ends, for those who do not hold its lock. A lease is none. One
-- statement: a lease that is extended or released between two would look like a claim. It looks into
-- all tables, whatever their places, because it comes after a claim that found the lock taken.
create or replace function tower_inbox.bucket_claimed(
    consumer_id int2, inbox_key uuid, now_s float8
) returns int4
language sql stable
as $$
    select b.expires_at
    from tower_inbox.bucket b
    where b.consumer = consumer_id and b.key = inbox_key and b.expires_at > floor(now_s)
      and not exists (
          select from tower_inbox.lease l
          where l.consumer = b.consumer and l.key = b.key and l.lease_until = b.expires_at
      )
    limit 1
$$;

-- Whether what ends then is a lease. Else it is a claim; see `holder`.
create or replace function tower_inbox.bucket_is_lease(
    consumer_id int2, inbox_key uuid, ends int4
) returns boolean
language sql stable
as $$
    select exists (
        select from tower_inbox.lease l
        where l.consumer = consumer_id and l.key = inbox_key and l.lease_until = ends
    )
$$;

-- How long ago a message was handled; as `age_s`.
create or replace function tower_inbox.bucket_age(consumer_id int2, ends int4, now_s float8) returns int8
language sql stable
as $$
    select greatest(floor(now_s)::int8 - (ends - c.window_s), 0)
    from tower_inbox.consumer c
    where c.id = consumer_id and ends - c.window_s <= ceil(now_s)
$$;

-- Says which messages were tried before, and failed or did not come back. The others are marked, if
-- they are free and the caller wants to know of it should it die: with a row that counts no attempt
-- yet, because what many are tried for together is no single message's fault.
create or replace function tower_inbox.begin_together(
    consumer_id int2, keys uuid[], mark boolean, at float8
) returns boolean[]
language plpgsql
as $$
declare
    now_s float8 := tower_inbox.now_s(at);
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
        from tower_inbox.holders(
            consumer_id, keys, array(select generate_series(1, cardinality(keys))), now_s
        ) h
        where h.held_by is null and not tried[h.place]
        order by keys[h.place]
        on conflict do nothing;
    end if;
    return tried;
end $$;

-- The slow half of a claim, entered when a row is there already or another delivery is at work. Removes
-- an expired claim, so that the insert which asked finds room, and returns when the new one ends; or
-- says who is there: TI001 a duplicate, with its age as the detail, TI002 in flight.
--
-- The `set` clause is not about its value: it makes PostgreSQL restore the caller's lock_timeout
-- when the function returns.
create or replace function tower_inbox.make_room(
    consumer_id int2, inbox_key uuid, window_s int4, lock_id int8, wait_ms int4, at float8
) returns int4
language plpgsql
set lock_timeout = 0
as $$
declare
    now_s float8;
    held_by text;
begin
    -- A committed claim is seen without the lock: else the duplicates of one message would queue for
    -- it, and be told of each other as in flight.
    now_s := tower_inbox.now_s(at);
    if tower_inbox.holder(consumer_id, inbox_key, now_s) = 'claim' then
        raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
            detail = coalesce(tower_inbox.age_s(consumer_id, inbox_key, now_s)::text, '');
    end if;
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
    loop
        -- A statement of its own: it sees what was committed while the lock was waited for.
        now_s := tower_inbox.now_s(at);
        held_by := tower_inbox.holder(consumer_id, inbox_key, now_s);
        if held_by = 'lease' then
            raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
        elsif held_by = 'claim' then
            raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
                detail = coalesce(tower_inbox.age_s(consumer_id, inbox_key, now_s)::text, '');
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

-- How long ago a message was handled, counted back from the end of its claim by the window that the
-- consumer has now; null where that makes no sense because the window was changed.
create or replace function tower_inbox.age_s(consumer_id int2, inbox_key uuid, now_s float8) returns int8
language sql stable
as $$
    select greatest(floor(now_s)::int8 - (i.expires_at - c.window_s), 0)
    from tower_inbox.inbox i
    join tower_inbox.consumer c on c.id = i.consumer
    where i.consumer = consumer_id and i.key = inbox_key
      -- An expiry is rounded up.
      and i.expires_at - c.window_s <= ceil(now_s)
$$;

-- Whether a message is handled, or held by a lease, at a moment; null if it is free. A lease counts
-- only while it agrees with the claim beside it: what is left of an older one says nothing, even if
-- the clock was set back.
create or replace function tower_inbox.holder(consumer_id int2, inbox_key uuid, now_s float8) returns text
language sql stable
as $$
    select case when l.key is null then 'claim' else 'lease' end
    from tower_inbox.inbox i
    left join tower_inbox.lease l
      on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
    where i.consumer = consumer_id and i.key = inbox_key and i.expires_at > floor(now_s)
$$;
