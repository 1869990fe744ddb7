-- Buckets, for tables of claims that are too large to delete from: a claim is in the table of the time
-- at which it expires, and a table in which everything has expired is emptied as a whole.
--
-- There are sixteen such tables, made here once and used in turn, and one (number 0) for leases, and for
-- what belongs to none of them at the moment. Nothing is created, attached or dropped afterwards: a claim locks the
-- tables it looks into until its handler ends, and only `truncate` of one that no claim looks into any
-- more can do without the wait for all handlers that a change of a common parent would be.
--
-- # Why no message is handled twice
--
-- No unique index covers two tables. What does is the advisory lock of the message:
--
--  1. A claim holds it until its transaction ends. PostgreSQL makes a commit visible to new snapshots
--     before it releases the locks of the transaction.
--  2. Once the lock is its own, a claim reads the ring and the tables in later statements, which under
--     `read committed` have snapshots of their own. So it sees every earlier claim of the message that
--     committed, and the place of each table at that time or later. Other levels are refused.
--  3. A claim is written to the table whose place holds its expiry, and the place of a table is never
--     changed but by emptying it, at least two seconds after the end of its place. So a claim that has
--     not expired is in a table whose place has not ended, or in table 0, and those are looked into.
--
-- A claim that is held up between reading the ring and writing may write to a table that was emptied
-- meanwhile. Then its expiry has passed, and it holds nothing off in any table.

-- How the sixteen stand: table n holds what expires in from_s[n] <= expires_at < until_s[n]; both are 0
-- while it is free. Places do not overlap.
create table tower_inbox.ring (
    one boolean primary key default true check (one),
    from_s int4[] not null default array_fill(0, array[16]),
    until_s int4[] not null default array_fill(0, array[16]),
    check (cardinality(from_s) = 16 and cardinality(until_s) = 16)
);

insert into tower_inbox.ring default values;

alter table tower_inbox.meta add column buckets_swept_at int4 not null default 0;

-- Where the claims of a consumer are: 'flat' in `inbox`, 'both', on the way from one to the other, or
-- 'buckets'; and since when.
alter table tower_inbox.consumer
    add column store text not null default 'flat' check (store in ('flat', 'both', 'buckets')),
    add column store_since int4 not null default 0;

-- The tables, and what has to name each of them: a statement of its own per table, so that a claim
-- locks no more than it needs. Within one table a message has one row.
do $make$
declare
    look text := '';
    look_many text := '';
    put text := '';
    put_many text := '';
    every text := '';
begin
    for n in 0..16 loop
        -- Their rows are never updated in numbers, and go together.
        execute format(
            'create table tower_inbox.bucket_%s (
                key uuid not null,
                expires_at int4 not null,
                consumer int2 not null,
                primary key (consumer, key)
            ) with (autovacuum_vacuum_insert_threshold = -1)',
            n
        );
        if n > 0 then
            look := look || format(
                '
    if until_s[%1$s] > moment then
        select b.expires_at into ends
        from tower_inbox.bucket_%1$s b
        where b.consumer = consumer_id and b.key = inbox_key and b.expires_at > moment;
        if found then
            return ends;
        end if;
    end if;',
                n
            );
            look_many := look_many || format(
                '
    if until_s[%1$s] > moment then
        return query
        select f.place, f.ends
        from (
            select
                p.place,
                (
                    select b.expires_at
                    from tower_inbox.bucket_%1$s b
                    where b.consumer = consumer_id and b.key = keys[p.place]
                      and b.expires_at > moment
                ) as ends
            from unnest(places) as p(place)
        ) f
        where f.ends is not null;
    end if;',
                n
            );
        end if;
        -- 1 to 16, and 0 where none of these fits.
        if n > 0 then
            put := put || format(
                '
    %2$s from_s[%1$s] <= ends and ends < until_s[%1$s] then
        insert into tower_inbox.bucket_%1$s (key, expires_at, consumer)
        values (inbox_key, ends, consumer_id)
        on conflict (consumer, key) do update
        set expires_at = excluded.expires_at;',
                n, case n when 1 then 'if' else 'elsif' end
            );
            put_many := put_many || format(
                '
    %2$s from_s[%1$s] <= ends and ends < until_s[%1$s] then
        insert into tower_inbox.bucket_%1$s (key, expires_at, consumer)
        select k.key, ends, consumer_id
        from unnest(keys) as k(key)
        on conflict (consumer, key) do update
        set expires_at = excluded.expires_at;',
                n, case n when 1 then 'if' else 'elsif' end
            );
        end if;
        every := every || format(
            ' %2$s select %1$s::int2 as bucket, b.consumer, b.key, b.expires_at
            from tower_inbox.bucket_%1$s b',
            n, case n when 0 then '' else 'union all' end
        );
    end loop;

    -- When the claim of a message ends. One that has expired is told of only if it is in table 0, where
    -- leases are: whoever takes over does away with it. Null if there is none.
    --
    -- Index probes, however small a table was when the plan was made: it may be large a minute later.
    execute format(
        'create function tower_inbox.bucket_look(
            consumer_id int2, inbox_key uuid, until_s int4[], moment int4
        ) returns int4
        language plpgsql
        set enable_seqscan = off
        as $f$
declare
    ends int4;
    lingering int4;
begin
    select b.expires_at into lingering
    from tower_inbox.bucket_0 b
    where b.consumer = consumer_id and b.key = inbox_key;
    if lingering > moment then
        return lingering;
    end if;%s
    return lingering;
end $f$',
        look
    );

    -- The same for the messages at some places of a batch.
    execute format(
        'create function tower_inbox.bucket_look_many(
            consumer_id int2, keys uuid[], places int4[], until_s int4[], moment int4
        ) returns table (place int4, ends int4)
        language plpgsql
        set enable_seqscan = off
        as $f$
#variable_conflict use_column
begin
    return query
    select f.place, f.ends
    from (
        select
            p.place,
            (
                select b.expires_at
                from tower_inbox.bucket_0 b
                where b.consumer = consumer_id and b.key = keys[p.place]
            ) as ends
        from unnest(places) as p(place)
    ) f
    where f.ends is not null;%s
end $f$',
        look_many
    );

    -- Writes a claim. The message is locked, and has none; what is in the way has expired.
    execute format(
        'create function tower_inbox.bucket_put(
            consumer_id int2, inbox_key uuid, ends int4, from_s int4[], until_s int4[]
        ) returns boolean
        language plpgsql
        as $f$
begin%s
    else
        insert into tower_inbox.bucket_0 (key, expires_at, consumer)
        values (inbox_key, ends, consumer_id)
        on conflict (consumer, key) do update
        set expires_at = excluded.expires_at;
    end if;
    return true;
end $f$',
        put
    );

    -- Writes many that end together.
    execute format(
        'create function tower_inbox.bucket_put_many(
            consumer_id int2, keys uuid[], ends int4, from_s int4[], until_s int4[]
        ) returns boolean
        language plpgsql
        as $f$
begin%s
    else
        insert into tower_inbox.bucket_0 (key, expires_at, consumer)
        select k.key, ends, consumer_id
        from unnest(keys) as k(key)
        on conflict (consumer, key) do update
        set expires_at = excluded.expires_at;
    end if;
    return true;
end $f$',
        put_many
    );

    -- For people.
    execute format('create view tower_inbox.bucket as %s', every);
end $make$;

-- Refuses the levels under which a statement does not see what was committed before it.
create function tower_inbox.bucket_level() returns boolean
language plpgsql
as $$
begin
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        raise exception using
            errcode = 'TI010',
            message = 'tower-inbox: buckets need the isolation level read committed';
    end if;
    return true;
end $$;

-- How long ago a message was handled; as `age_s`.
create function tower_inbox.bucket_age(consumer_id int2, ends int4, now_s float8) returns int8
language sql stable
as $$
    select greatest(floor(now_s)::int8 - (ends - c.window_s), 0)
    from tower_inbox.consumer c
    where c.id = consumer_id and ends - c.window_s <= ceil(now_s)
$$;

-- Whether what ends then is a lease. Else it is a claim; see `holder`.
create function tower_inbox.bucket_is_lease(
    consumer_id int2, inbox_key uuid, ends int4
) returns boolean
language sql stable
as $$
    select exists (
        select from tower_inbox.lease l
        where l.consumer = consumer_id and l.key = inbox_key and l.lease_until = ends
    )
$$;

-- When the committed claim of a message ends, for those who do not hold its lock. A lease is none. One
-- statement: a lease that is extended or released between two would look like a claim. It looks into
-- all tables, whatever their places, because it comes after a claim that found the lock taken.
create function tower_inbox.bucket_claimed(
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

-- When the claim or the lease of a message ends that has not expired, for those who hold its lock.
create function tower_inbox.bucket_ends(consumer_id int2, inbox_key uuid, now_s float8) returns int4
language plpgsql
as $$
declare
    untils int4[];
    ends int4;
begin
    select r.until_s into untils from tower_inbox.ring r;
    ends := tower_inbox.bucket_look(consumer_id, inbox_key, untils, floor(now_s)::int4);
    if ends > floor(now_s) then
        return ends;
    end if;
    return null;
end $$;

-- Does away with what expired in table 0. A clock that is set back would bring a lease to life again,
-- beside the claim that came after it.
create function tower_inbox.bucket_overtake(
    consumer_id int2, keys uuid[], moment int4
) returns boolean
language plpgsql
as $$
begin
    delete from tower_inbox.bucket_0 b
    where b.consumer = consumer_id and b.key = any (keys);
    -- One that has not expired is in the flat table.
    delete from tower_inbox.lease l
    where l.consumer = consumer_id and l.key = any (keys) and l.lease_until <= moment;
    return true;
end $$;

-- Says who has a message: TI001 a duplicate, with its age as the detail, TI002 in flight.
create function tower_inbox.bucket_refuse(
    consumer_id int2, inbox_key uuid, ends int4, now_s float8
) returns boolean
language plpgsql
as $$
begin
    if tower_inbox.bucket_is_lease(consumer_id, inbox_key, ends) then
        raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
    end if;
    raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
        detail = coalesce(tower_inbox.bucket_age(consumer_id, ends, now_s)::text, '');
end $$;

-- Waits for a message's lock, as the slow half of a claim in the flat table does.
create function tower_inbox.bucket_wait(
    consumer_id int2, inbox_key uuid, lock_id int8, wait_ms int4, at float8
) returns boolean
language plpgsql
set lock_timeout = 0
as $$
declare
    now_s float8 := tower_inbox.now_s(at);
    ends int4 := tower_inbox.bucket_claimed(consumer_id, inbox_key, now_s);
begin
    -- A committed claim is seen without the lock: else the duplicates of one message would queue for
    -- it, and be told of each other as in flight. A miss says nothing.
    if ends is not null then
        raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
            detail = coalesce(tower_inbox.bucket_age(consumer_id, ends, now_s)::text, '');
    end if;
    if wait_ms > 0 then
        perform set_config('lock_timeout', wait_ms::text, true);
        begin
            perform pg_advisory_xact_lock(lock_id);
        exception when lock_not_available then
            raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
        end;
    elsif not pg_try_advisory_xact_lock(lock_id) then
        raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
    end if;
    return true;
end $$;

-- Takes a message in the flat table too, for a consumer that is on its way. Null: somebody has it; the
-- message is locked, so that this is committed. Else when its claim ends.
create function tower_inbox.bucket_take_flat(
    consumer_id int2, inbox_key uuid, until_s int4, now_s float8
) returns int4
language plpgsql
as $$
begin
    if tower_inbox.holder(consumer_id, inbox_key, now_s) is not null then
        return null;
    end if;
    insert into tower_inbox.inbox as i (key, expires_at, consumer)
    values (inbox_key, until_s, consumer_id)
    on conflict (consumer, key) do update
    set expires_at = excluded.expires_at
    -- A lease there may have been completed meanwhile: that takes no advisory lock.
    where i.expires_at <= floor(now_s);
    if not found then
        return null;
    end if;
    return until_s;
end $$;

-- Claims, or says who is there: TI001 a duplicate, with its age as the detail, TI002 in flight.
create function tower_inbox.bucket_claim(
    consumer_id int2, inbox_key uuid, window_s int4, lock_id int8, wait_ms int4, beside_flat boolean,
    at float8
) returns int2
language plpgsql
as $$
declare
    now_s float8;
    froms int4[];
    untils int4[];
    ends int4;
    done boolean;
begin
    done := tower_inbox.bucket_level();
    if not pg_try_advisory_xact_lock(lock_id) then
        done := tower_inbox.bucket_wait(consumer_id, inbox_key, lock_id, wait_ms, at);
    end if;

    -- From here on each statement sees every claim of the message that was committed.
    now_s := tower_inbox.now_s(at);
    select r.from_s, r.until_s into froms, untils from tower_inbox.ring r;
    ends := tower_inbox.bucket_look(consumer_id, inbox_key, untils, floor(now_s)::int4);
    if ends > floor(now_s) then
        done := tower_inbox.bucket_refuse(consumer_id, inbox_key, ends, now_s);
    elsif ends is not null then
        done := tower_inbox.bucket_overtake(
            consumer_id, array[inbox_key], floor(now_s)::int4
        );
    end if;
    ends := ceil(now_s + window_s)::int4;
    if beside_flat
        and tower_inbox.bucket_take_flat(consumer_id, inbox_key, ends, now_s) is null
    then
        if tower_inbox.holder(consumer_id, inbox_key, now_s) = 'claim' then
            raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
                detail = coalesce(tower_inbox.age_s(consumer_id, inbox_key, now_s)::text, '');
        end if;
        -- A lease, or what was one a moment ago.
        raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
    end if;
    done := tower_inbox.bucket_put(consumer_id, inbox_key, ends, froms, untils);
    return 1;
end $$;

-- Claims with a lease: state 0 granted, 1 duplicate with its age in the place of the token, 2 in
-- flight. As `lease`.
create function tower_inbox.bucket_lease(
    consumer_id int2, inbox_key uuid, lease_s int4, lock_id int8, holder text, beside_flat boolean,
    at float8
) returns table (state int4, token int8, attempt int4)
language plpgsql
set lock_timeout = '50ms'
as $$
#variable_conflict use_column
declare
    now_s float8 := tower_inbox.now_s(at);
    ends int4 := tower_inbox.bucket_claimed(consumer_id, inbox_key, now_s);
    allowed boolean := tower_inbox.bucket_level();
begin
    if ends is not null then
        return query select 1, tower_inbox.bucket_age(consumer_id, ends, now_s), 0;
        return;
    end if;
    begin
        perform pg_advisory_xact_lock(lock_id);
    exception when lock_not_available then
        return query select 2, 0::int8, 0;
        return;
    end;
    perform set_config('lock_timeout', '0', true);

    now_s := tower_inbox.now_s(at);
    ends := tower_inbox.bucket_ends(consumer_id, inbox_key, now_s);
    if ends is not null then
        return query
        select
            case when tower_inbox.bucket_is_lease(consumer_id, inbox_key, ends) then 2 else 1 end,
            tower_inbox.bucket_age(consumer_id, ends, now_s),
            0;
        return;
    end if;
    ends := ceil(now_s + lease_s)::int4;
    if beside_flat
        and tower_inbox.bucket_take_flat(consumer_id, inbox_key, ends, now_s) is null
    then
        return query
        select
            case tower_inbox.holder(consumer_id, inbox_key, now_s) when 'claim' then 1 else 2 end,
            tower_inbox.age_s(consumer_id, inbox_key, now_s),
            0;
        return;
    end if;
    -- Leases come and go, so they are where rows are deleted one by one.
    insert into tower_inbox.bucket_0 (key, expires_at, consumer)
    values (inbox_key, ends, consumer_id)
    on conflict (consumer, key) do update
    set expires_at = excluded.expires_at;
    return query
    insert into tower_inbox.lease as l (consumer, key, token, attempt, lease_until, owner)
    values (consumer_id, inbox_key, nextval('tower_inbox.token'), 1, ends, holder)
    on conflict (consumer, key) do update
    set token = excluded.token,
        attempt = l.attempt + 1,
        lease_until = excluded.lease_until,
        owner = excluded.owner
    returning 0, l.token, l.attempt;
end $$;

-- What a holder does with its lease; as `settle`. False: the lease was lost.
--
-- The message is locked first, and the lease is read afterwards, so a late holder sees whoever took
-- over while it waited. A claim goes to the table of its end.
create function tower_inbox.bucket_settle(
    deed text, consumer_id int2, inbox_key uuid, lease_token int8, for_s int4, lock_id int8,
    beside_flat boolean, at float8
) returns boolean
language plpgsql
as $$
declare
    now_s float8;
    froms int4[];
    untils int4[];
    ends int4;
    next_end int4;
    done boolean := tower_inbox.bucket_level();
begin
    perform pg_advisory_xact_lock(lock_id);
    now_s := tower_inbox.now_s(at);
    ends := tower_inbox.bucket_ends(consumer_id, inbox_key, now_s);
    perform from tower_inbox.lease l
    where l.consumer = consumer_id and l.key = inbox_key
      and l.token = lease_token and l.lease_until = ends
    for update;
    if not found then
        return false;
    end if;
    next_end := ceil(now_s + for_s)::int4;

    if deed = 'extend' then
        update tower_inbox.bucket_0 b
        set expires_at = next_end
        where b.consumer = consumer_id and b.key = inbox_key;
        update tower_inbox.lease l
        set lease_until = next_end
        where l.consumer = consumer_id and l.key = inbox_key;
    else
        delete from tower_inbox.bucket_0 b
        where b.consumer = consumer_id and b.key = inbox_key;
        if deed = 'complete' then
            delete from tower_inbox.lease l
            where l.consumer = consumer_id and l.key = inbox_key;
            select r.from_s, r.until_s into froms, untils from tower_inbox.ring r;
            done := tower_inbox.bucket_put(consumer_id, inbox_key, next_end, froms, untils);
        else
            -- The row stays, for the number of attempts.
            update tower_inbox.lease l
            set lease_until = floor(now_s)::int4
            where l.consumer = consumer_id and l.key = inbox_key;
        end if;
    end if;

    if beside_flat and deed = 'release' then
        delete from tower_inbox.inbox i
        where i.consumer = consumer_id and i.key = inbox_key and i.expires_at = ends;
    elsif beside_flat then
        update tower_inbox.inbox i
        set expires_at = next_end
        where i.consumer = consumer_id and i.key = inbox_key and i.expires_at = ends;
    end if;
    return true;
end $$;

-- The ages of duplicates, place by place; null where one is not known, and below zero nowhere.
create function tower_inbox.bucket_ages(
    consumer_id int2, keys uuid[], places int4[], now_s float8
) returns int8[]
language sql stable
as $$
    select coalesce(
        array_agg(
            coalesce(
                tower_inbox.bucket_age(
                    consumer_id,
                    tower_inbox.bucket_claimed(consumer_id, keys[p.place], now_s),
                    now_s
                ),
                tower_inbox.age_s(consumer_id, keys[p.place], now_s)
            )
            order by p.nr
        ),
        '{}'
    )
    from unnest(places) with ordinality as p(place, nr)
$$;

-- Claims many. What of a batch is not won is told as `contend_batch` tells it.
--
-- Locks are taken first, in the order that was sent, and waited for until the time is over. One look
-- and one insert for all that are locked come last.
create function tower_inbox.bucket_claim_batch(
    consumer_id int2, keys uuid[], lock_ids int8[], window_s int4, wait_ms int4, beside_flat boolean,
    at float8
) returns int2
language plpgsql
set lock_timeout = 0
as $$
declare
    deadline timestamptz := clock_timestamp() + wait_ms * interval '1 millisecond';
    left_ms int4;
    now_s float8;
    froms int4[];
    untils int4[];
    ends int4;
    rest int4[] := array(select generate_series(1, cardinality(keys)));
    got int4[];
    mine int4[] := '{}';
    found_claims int4[];
    found_leases int4[];
    over uuid[];
    duplicates int4[] := '{}';
    in_flight int4[] := '{}';
    done boolean := tower_inbox.bucket_level();
begin
    loop
        select
            coalesce(array_agg(l.place) filter (where l.got), '{}'),
            coalesce(array_agg(l.place) filter (where not l.got), '{}')
        into got, rest
        from (
            select p.place, pg_try_advisory_xact_lock(lock_ids[p.place]) as got
            from unnest(rest) as p(place)
            offset 0
        ) l;
        mine := mine || got;
        exit when cardinality(rest) = 0;

        -- Committed claims are seen without their locks.
        now_s := tower_inbox.now_s(at);
        select coalesce(array_agg(p.place), '{}')
        into found_claims
        from unnest(rest) as p(place)
        where tower_inbox.bucket_claimed(consumer_id, keys[p.place], now_s) is not null;
        duplicates := duplicates || found_claims;
        rest := array(select unnest(rest) except select unnest(found_claims) order by 1);
        exit when cardinality(rest) = 0;

        left_ms := ceil(1000 * extract(epoch from deadline - clock_timestamp()));
        if left_ms <= 0 then
            in_flight := in_flight || rest;
            exit;
        end if;
        -- Two batches may each hold what the other waits for. The time is soon over, and then each
        -- goes on with what it has.
        perform set_config('lock_timeout', left_ms::text, true);
        begin
            perform pg_advisory_xact_lock(lock_ids[rest[1]]);
        exception when lock_not_available or deadlock_detected then
            null;
        end;
        perform set_config('lock_timeout', '0', true);
    end loop;

    -- From here on each statement sees every claim of ours that was committed.
    now_s := tower_inbox.now_s(at);
    select r.from_s, r.until_s into froms, untils from tower_inbox.ring r;
    ends := ceil(now_s + window_s)::int4;
    select
        coalesce(array_agg(f.place) filter (where f.found = 'claim'), '{}'),
        coalesce(array_agg(f.place) filter (where f.found = 'lease'), '{}'),
        array_agg(keys[f.place]) filter (where f.found = 'over')
    into found_claims, found_leases, over
    from (
        select
            f.place,
            case
                when f.ends <= floor(now_s) then 'over'
                when tower_inbox.bucket_is_lease(consumer_id, keys[f.place], f.ends) then 'lease'
                else 'claim'
            end as found
        from tower_inbox.bucket_look_many(
            consumer_id, keys, mine, untils, floor(now_s)::int4
        ) f
        offset 0
    ) f;
    if over is not null then
        done := tower_inbox.bucket_overtake(consumer_id, over, floor(now_s)::int4);
    end if;
    duplicates := duplicates || found_claims;
    in_flight := in_flight || found_leases;
    mine := array(
        select unnest(mine) except select unnest(found_claims || found_leases) order by 1
    );
    if beside_flat then
        select
            coalesce(array_agg(h.place) filter (where h.held_by = 'claim'), '{}'),
            coalesce(array_agg(h.place) filter (where h.held_by = 'lease'), '{}'),
            coalesce(array_agg(h.place order by h.place) filter (where h.held_by is null), '{}')
        into found_claims, found_leases, mine
        from tower_inbox.holders(consumer_id, keys, mine, now_s) h;
        duplicates := duplicates || found_claims;
        in_flight := in_flight || found_leases;
        with put as (
            insert into tower_inbox.inbox as i (key, expires_at, consumer)
            select keys[p.place], ends, consumer_id
            from unnest(mine) as p(place)
            on conflict (consumer, key) do update
            set expires_at = excluded.expires_at
            -- A lease there may have been completed meanwhile: that takes no advisory lock.
            where i.expires_at <= floor(now_s)
            returning i.key
        )
        select
            coalesce(array_agg(p.place order by p.place) filter (where put.key is not null), '{}'),
            coalesce(array_agg(p.place) filter (where put.key is null), '{}')
        into mine, found_leases
        from unnest(mine) as p(place)
        left join put on put.key = keys[p.place];
        in_flight := in_flight || found_leases;
    end if;

    if cardinality(mine) = 0 then
        raise exception using
            errcode = 'TI004',
            message = 'tower-inbox: nothing of a batch is new',
            detail = duplicates::text
                || tower_inbox.bucket_ages(consumer_id, keys, duplicates, now_s)::text
                || in_flight::text;
    end if;
    done := tower_inbox.bucket_put_many(
        consumer_id, array(select keys[p.place] from unnest(mine) as p(place)), ends, froms, untils
    );
    if cardinality(mine) < cardinality(keys) then
        perform set_config(
            'tower_inbox.batch',
            duplicates::text
                || tower_inbox.bucket_ages(consumer_id, keys, duplicates, now_s)::text
                || in_flight::text,
            true
        );
    end if;
    return 1;
end $$;

-- Which messages are handled, in the order of the keys: how long ago, -1 where that is not known, null
-- where they are not.
create function tower_inbox.bucket_handled(
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

-- Moves a consumer to another store, or says why not: 0 it is there; a number of seconds to wait,
-- because claims that are only in the flat table have not expired; -1 because the flat table has claims;
-- -2 because claims are only in buckets, where the flat store does not look.
--
-- Decided by the claims themselves: windows change, and a store that was left may have gone on.
create function tower_inbox.bucket_enter(consumer_id int2, wanted text, at float8) returns int4
language plpgsql
as $$
declare
    moment int4 := floor(tower_inbox.now_s(at));
    wait_s int4;
    c tower_inbox.consumer;
begin
    select * into c from tower_inbox.consumer where id = consumer_id for update;
    if c.store = wanted then
        return 0;
    elsif wanted = 'flat' and (
        c.store = 'buckets'
        or exists (
            select from tower_inbox.bucket b
            where b.consumer = consumer_id and b.expires_at > moment
              and not exists (
                  select from tower_inbox.inbox i
                  where i.consumer = b.consumer and i.key = b.key and i.expires_at > moment
              )
        )
    ) then
        return -2;
    elsif wanted = 'buckets' and c.store = 'both' then
        select max(i.expires_at) - moment into wait_s
        from tower_inbox.inbox i
        where i.consumer = consumer_id and i.expires_at > moment
          and not exists (
              select from tower_inbox.bucket b
              where b.consumer = i.consumer and b.key = i.key and b.expires_at > moment
          );
        if wait_s is not null then
            return wait_s;
        end if;
    elsif wanted = 'buckets' and c.store = 'flat' and exists (
        select from tower_inbox.inbox i
        where i.consumer = consumer_id and i.expires_at > moment
    ) then
        return -1;
    end if;
    update tower_inbox.consumer
    set store = wanted, store_since = moment
    where id = consumer_id;
    return 0;
end $$;

-- Gives free tables their places, from now on and as far as claims reach, and half a period further:
-- that long the sweeper may be away. Returns how many got one; with no table free, claims go to table
-- 0, which is swept as the flat one is.
--
-- A place is half as long as the longest window if nothing is said, and never less than a tenth of it:
-- that is twelve tables at once, and leaves some for those that a long handler keeps from being
-- emptied. Claims read the ring without a lock; two who give places take turns.
create function tower_inbox.bucket_roll(period_s int4, at float8) returns int4
language plpgsql
as $$
declare
    moment int4 := floor(tower_inbox.now_s(at));
    longest int4;
    period int4;
    froms int4[];
    untils int4[];
    place int4 := moment;
    ends int4;
    free int4;
    given int4 := 0;
begin
    select max(c.window_s) into longest from tower_inbox.consumer c where c.store <> 'flat';
    if longest is null then
        return 0;
    end if;
    period := greatest(coalesce(period_s, ceil(longest / 2.0)), ceil(longest / 10.0), 1);
    select r.from_s, r.until_s into froms, untils from tower_inbox.ring r for update;
    -- An expiry is rounded up.
    while place <= moment + longest + 1 + greatest(period / 2, 2) loop
        select r.until_s into ends
        from unnest(froms, untils) as r(from_s, until_s)
        where r.from_s <= place and place < r.until_s;
        if not found then
            free := array_position(untils, 0);
            exit when free is null;
            -- Ends on a multiple, or where another place begins.
            select least((place / period + 1) * period, min(r.from_s)) into ends
            from unnest(froms) as r(from_s)
            where r.from_s > place;
            froms[free] := place;
            untils[free] := ends;
            given := given + 1;
        end if;
        place := ends;
    end loop;
    if given > 0 then
        update tower_inbox.ring
        set from_s = froms, until_s = untils;
    end if;
    return given;
end $$;

-- The tables whose places ended at least so long ago, and two seconds more: a claim that read the ring
-- a moment ago need not meet an emptied table.
create function tower_inbox.bucket_over(retention_s int4, at float8) returns setof int4
language sql
as $$
    select r.n::int4
    from tower_inbox.ring g, unnest(g.until_s) with ordinality as r(until_s, n)
    where r.until_s > 0 and r.until_s + 2 <= floor(tower_inbox.now_s(at)) - retention_s
    order by r.until_s
$$;

-- Empties a table whose place is over and makes it free. Returns the number of rows, reckoned from
-- its size if it is large; null if that cannot be now: another session sweeps, or a transaction still
-- holds the table that began before its place ended. No claim looks into it any more, so nobody queues
-- behind the wait.
create function tower_inbox.bucket_empty(
    n int4, retention_s int4, lock_id int8, at float8
) returns int8
language plpgsql
set lock_timeout = '20ms'
as $$
declare
    pages int8;
    counted int8;
    removed int8;
begin
    if not pg_try_advisory_xact_lock(lock_id) then
        return null;
    end if;
    begin
        perform from tower_inbox.ring for update;
        if not n in (select tower_inbox.bucket_over(retention_s, at)) then
            return 0;
        end if;
        -- Waits for another session that empties it, too.
        pages := pg_relation_size(format('tower_inbox.bucket_%s', n)::regclass)
            / current_setting('block_size')::int8;
        counted := least(pages, 1000);
        execute format(
            'select count(*) from tower_inbox.bucket_%s b where b.ctid < ''(%s,0)''', n, counted
        ) into removed;
        execute format('truncate tower_inbox.bucket_%s', n);
    exception when lock_not_available then
        return null;
    end;
    update tower_inbox.ring
    set from_s[n] = 0, until_s[n] = 0;
    return removed * pages / greatest(counted, 1);
end $$;

-- Deletes what ended in a range of pages of table 0; as `sweep`.
create function tower_inbox.bucket_sweep(
    first_row tid, end_row tid, retention_s int4, lock_id int8, at float8
) returns int8
language plpgsql
set lock_timeout = '20ms'
as $$
declare
    ended int4 := floor(tower_inbox.now_s(at)) - retention_s;
    removed int8;
begin
    if not pg_try_advisory_xact_lock(lock_id) then
        return null;
    end if;
    begin
        delete from tower_inbox.bucket_0 b
        where b.ctid >= first_row and b.ctid < end_row and b.expires_at <= ended;
    exception when lock_not_available then
        delete from tower_inbox.bucket_0 b
        where b.ctid = any (array(
            select l.ctid
            from tower_inbox.bucket_0 l
            where l.ctid >= first_row and l.ctid < end_row and l.expires_at <= ended
            for update skip locked
        ));
    end;
    get diagnostics removed = row_count;
    return removed;
end $$;
