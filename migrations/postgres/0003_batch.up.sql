-- Batches: what of a batch a plain insert did not win is looked at here, many messages at once.

-- Who has the messages at some places of a batch, at a moment: 'claim' with its age in seconds, 'lease',
-- or null. As `holder` and `age_s`, in one statement; the inner select keeps it at one index probe for
-- each message, however small the table was when the plan was made.
create function tower_inbox.holders(
    consumer_id int2, keys uuid[], places int4[], now_s float8
) returns table (place int4, held_by text, age_s int8)
language sql stable
as $$
    select
        p.place,
        case when i.leased then 'lease' when i.expires_at is not null then 'claim' end,
        case
            when i.expires_at - c.window_s <= ceil(now_s)
            then greatest(floor(now_s)::int8 - (i.expires_at - c.window_s), 0)
        end
    from unnest(places) as p(place)
    left join lateral (
        select
            i.expires_at,
            (
                select l.lease_until
                from tower_inbox.lease l
                where l.consumer = i.consumer and l.key = i.key
            ) = i.expires_at as leased
        from tower_inbox.inbox i
        where i.consumer = consumer_id and i.key = keys[p.place] and i.expires_at > floor(now_s)
        offset 0
    ) i on true
    left join tower_inbox.consumer c on c.id = consumer_id
$$;

-- The slow half of a claim of many, entered with the places that the insert of the fast half did not
-- win. Takes over expired claims, waits for others for at most wait_ms, and leaves word of the rest in
-- a setting that ends with the transaction: the places of duplicates, their ages, and the places of
-- messages in flight, such as '{2,5}{60,NULL}{7}'. A batch that wins nothing at all raises it instead,
-- as the detail of TI004.
--
-- Nothing is written for a message before its lock is held. Then nobody else has its claim
-- uncommitted, and no statement in here waits for another delivery.
create function tower_inbox.contend_batch(
    consumer_id int2, keys uuid[], lock_ids int8[], places int4[], window_s int4, wait_ms int4,
    at float8
) returns int2
language plpgsql
set lock_timeout = 0
as $$
declare
    deadline timestamptz := clock_timestamp() + wait_ms * interval '1 millisecond';
    left_ms int4;
    now_s float8;
    won int4 := cardinality(keys) - cardinality(places);
    rest int4[] := places;
    mine int4[];
    theirs int4[];
    overtaken uuid[];
    found_claims int4[];
    found_ages int8[];
    found_leases int4[];
    duplicates int4[] := '{}';
    ages int8[] := '{}';
    in_flight int4[] := '{}';
    word text;
begin
    loop
        -- Committed claims are seen without their locks: else the duplicates of one message would be
        -- told of each other as in flight.
        now_s := tower_inbox.now_s(at);
        select
            coalesce(array_agg(h.place) filter (where h.held_by = 'claim'), '{}'),
            coalesce(array_agg(h.age_s) filter (where h.held_by = 'claim'), '{}'),
            coalesce(array_agg(h.place) filter (where h.held_by is distinct from 'claim'), '{}')
        into found_claims, found_ages, rest
        from tower_inbox.holders(consumer_id, keys, rest, now_s) h;
        duplicates := duplicates || found_claims;
        ages := ages || found_ages;
        exit when cardinality(rest) = 0;

        select
            coalesce(array_agg(l.place) filter (where l.got), '{}'),
            coalesce(array_agg(l.place) filter (where not l.got), '{}')
        into mine, theirs
        from (
            select p.place, pg_try_advisory_xact_lock(lock_ids[p.place]) as got
            from unnest(rest) as p(place)
            offset 0
        ) l;

        now_s := tower_inbox.now_s(at);
        with won as (
            insert into tower_inbox.inbox (key, expires_at, consumer)
            select keys[p.place], ceil(now_s + contend_batch.window_s)::int4, consumer_id
            from unnest(mine) as p(place)
            on conflict do nothing
            returning key
        )
        select coalesce(array_agg(p.place) filter (where w.key is null), '{}')
        into rest
        from unnest(mine) as p(place)
        left join won w on w.key = keys[p.place];
        won := won + cardinality(mine) - cardinality(rest);
        mine := rest;

        -- A statement of its own: it sees what was committed before the locks were ours.
        select
            coalesce(array_agg(h.place) filter (where h.held_by = 'claim'), '{}'),
            coalesce(array_agg(h.age_s) filter (where h.held_by = 'claim'), '{}'),
            coalesce(array_agg(h.place) filter (where h.held_by = 'lease'), '{}'),
            coalesce(array_agg(h.place) filter (where h.held_by is null), '{}')
        into found_claims, found_ages, found_leases, mine
        from tower_inbox.holders(consumer_id, keys, mine, now_s) h;
        duplicates := duplicates || found_claims;
        ages := ages || found_ages;
        in_flight := in_flight || found_leases;

        with taken as (
            update tower_inbox.inbox i
            set expires_at = ceil(now_s + contend_batch.window_s)::int4
            where i.consumer = consumer_id
              and i.key = any (array(select keys[p.place] from unnest(mine) as p(place)))
              and i.expires_at <= floor(now_s)
            returning i.key
        )
        select
            coalesce(array_agg(t.key) filter (where t.key is not null), '{}'),
            coalesce(array_agg(p.place) filter (where t.key is null), '{}')
        into overtaken, rest
        from unnest(mine) as p(place)
        left join taken t on t.key = keys[p.place];
        won := won + cardinality(overtaken);
        delete from tower_inbox.lease l
        where l.consumer = consumer_id and l.key = any (overtaken);

        -- What is left of ours was swept a moment ago: insert it in the next turn.
        if cardinality(rest) = 0 then
            exit when cardinality(theirs) = 0;
            left_ms := ceil(1000 * extract(epoch from deadline - clock_timestamp()));
            if left_ms <= 0 then
                in_flight := in_flight || theirs;
                exit;
            end if;
            -- Two batches may each hold what the other waits for. The time is soon over, and then
            -- each goes on with what it has.
            perform set_config('lock_timeout', left_ms::text, true);
            begin
                perform pg_advisory_xact_lock(lock_ids[theirs[1]]);
            exception when lock_not_available or deadlock_detected then
                null;
            end;
            perform set_config('lock_timeout', '0', true);
        end if;
        rest := rest || theirs;
    end loop;

    word := duplicates::text || ages::text || in_flight::text;
    if won = 0 then
        raise exception using
            errcode = 'TI004',
            message = 'tower-inbox: nothing of a batch is new',
            detail = word;
    elsif won < cardinality(keys) then
        perform set_config('tower_inbox.batch', word, true);
    end if;
    return 1;
end $$;

-- Raises the word that `contend_batch` left, as the detail of TI003. An error is the one thing that
-- a client hears of a statement which begins a transaction; a savepoint before this one keeps what was
-- won.
create function tower_inbox.tell_batch() returns void
language plpgsql
as $$
declare
    word text := current_setting('tower_inbox.batch', true);
begin
    if word <> '' then
        raise exception using
            errcode = 'TI003',
            message = 'tower-inbox: not all of a batch is new',
            detail = word;
    end if;
end $$;

-- Says which messages were tried before, and failed or did not come back. The others are marked, if
-- they are free and the caller wants to know of it should it die: with a row that counts no attempt
-- yet, because what many are tried for together is no single message's fault.
create function tower_inbox.begin_together(
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
