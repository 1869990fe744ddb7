-- What a layer keeps beside a claim where it is asked to: responses and fingerprints, attempts, dead
-- letters; and what people want to know: the age of duplicates, who let a message through again.
-- Times are seconds since 2020-01-01 as in 0001.

-- Says something only while it agrees with the claim beside it.
create table tower_inbox.record (
    key uuid not null,
    expires_at int4 not null,
    consumer int2 not null,
    fingerprint uuid,
    response bytea,
    primary key (consumer, key)
);

-- Attempts at a message that is not handled yet. What was started and did not finish died.
create table tower_inbox.attempt (
    key uuid not null,
    started int4 not null,
    finished int4 not null,
    first_at int4 not null,
    last_at int4 not null,
    consumer int2 not null,
    last_error text,
    primary key (consumer, key)
);

-- Messages that failed too often. The claim that ends at claimed_until keeps its redeliveries away;
-- any other claim beside it is of somebody who handled the message later. It stays until the message
-- is handled after all, or somebody discards it. Whoever delivers a requeued one keeps others from it
-- until taken_until.
create table tower_inbox.dead_letter (
    key uuid not null,
    started int4 not null,
    finished int4 not null,
    first_at int4 not null,
    died_at int4 not null,
    deaths int4 not null default 1,
    claimed_until int4 not null,
    requeued_at int4,
    taken_until int4,
    consumer int2 not null,
    reason text not null,
    payload bytea,
    primary key (consumer, key)
);

create index dead_letter_requeued on tower_inbox.dead_letter (consumer, requeued_at, key)
where requeued_at is not null;

-- How many duplicates were younger than 2^bucket seconds and not younger than half of that.
create table tower_inbox.duplicate_age (
    consumer int2 not null,
    bucket int2 not null,
    seen int8 not null,
    primary key (consumer, bucket)
);

-- What people did by hand.
create table tower_inbox.audit (
    id int8 generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null,
    action text not null,
    consumer text not null,
    key uuid,
    detail text
);

-- Refuses to run inside of a transaction that was left open in the session, where whatever is done
-- would be answered as done and rolled back some time later. In a transaction of its own a statement
-- begins when the transaction does.
create function tower_inbox.alone() returns boolean
language plpgsql
as $$
begin
    if transaction_timestamp() <> statement_timestamp() then
        raise exception using
            errcode = 'TI005',
            message = 'tower-inbox: the session has a transaction open';
    end if;
    return true;
end $$;

-- How long ago a message was handled, counted back from the end of its claim by the window that the
-- consumer has now; null where that makes no sense because the window was changed.
create function tower_inbox.age_s(consumer_id int2, inbox_key uuid, now_s float8) returns int8
language sql stable
as $$
    select greatest(floor(now_s)::int8 - (i.expires_at - c.window_s), 0)
    from tower_inbox.inbox i
    join tower_inbox.consumer c on c.id = i.consumer
    where i.consumer = consumer_id and i.key = inbox_key
      -- An expiry is rounded up.
      and i.expires_at - c.window_s <= ceil(now_s)
$$;

-- The slow half of a claim, entered only when the insert of the fast half found something in its
-- way. Takes over an expired claim, or says who is there: TI001 a duplicate, with its age as the detail,
-- TI002 in flight.
--
-- The `set` clause is not about its value: it makes PostgreSQL restore the caller's lock_timeout
-- when the function returns.
create or replace function tower_inbox.contend(
    consumer_id int2, inbox_key uuid, window_s int4, lock_id int8, wait_ms int4, at float8
) returns int2
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
        now_s := tower_inbox.now_s(at);
        insert into tower_inbox.inbox (key, expires_at, consumer)
        values (inbox_key, ceil(now_s + contend.window_s)::int4, consumer_id)
        on conflict do nothing;
        if found then
            return 1;
        end if;

        -- A statement of its own: it sees what was committed while the insert waited.
        held_by := tower_inbox.holder(consumer_id, inbox_key, now_s);
        if held_by = 'lease' then
            raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
        elsif held_by = 'claim' then
            raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate',
                detail = coalesce(tower_inbox.age_s(consumer_id, inbox_key, now_s)::text, '');
        end if;

        update tower_inbox.inbox i
        set expires_at = ceil(now_s + contend.window_s)::int4
        where i.consumer = consumer_id and i.key = inbox_key and i.expires_at <= floor(now_s);
        if found then
            delete from tower_inbox.lease l
            where l.consumer = consumer_id and l.key = inbox_key;
            return 1;
        end if;
    end loop;
end $$;

-- Claims with a lease: state 0 granted, 1 duplicate with its age in the place of the
-- token, 2 in flight.
--
-- Waits for the lock a little: a session that was told of a duplicate a moment ago may not have
-- finished its rollback.
create or replace function tower_inbox.lease(
    consumer_id int2, inbox_key uuid, lease_s int4, lock_id int8, holder text, at float8
) returns table (state int4, token int8, attempt int4)
language plpgsql
set lock_timeout = '50ms'
as $$
#variable_conflict use_column
declare
    now_s float8;
    held_by text;
begin
    now_s := tower_inbox.now_s(at);
    if tower_inbox.holder(consumer_id, inbox_key, now_s) = 'claim' then
        return query select 1, tower_inbox.age_s(consumer_id, inbox_key, now_s), 0;
        return;
    end if;
    begin
        perform pg_advisory_xact_lock(lock_id);
    exception when lock_not_available then
        return query select 2, 0::int8, 0;
        return;
    end;
    perform set_config('lock_timeout', '0', true);
    loop
        now_s := tower_inbox.now_s(at);
        insert into tower_inbox.inbox (key, expires_at, consumer)
        values (inbox_key, ceil(now_s + lease_s)::int4, consumer_id)
        on conflict do nothing;
        if not found then
            held_by := tower_inbox.holder(consumer_id, inbox_key, now_s);
            if held_by is not null then
                return query
                select
                    case held_by when 'claim' then 1 else 2 end,
                    tower_inbox.age_s(consumer_id, inbox_key, now_s),
                    0;
                return;
            end if;
            update tower_inbox.inbox i
            set expires_at = ceil(now_s + lease_s)::int4
            where i.consumer = consumer_id and i.key = inbox_key and i.expires_at <= floor(now_s);
            continue when not found;
        end if;

        return query
        insert into tower_inbox.lease as l (consumer, key, token, attempt, lease_until, owner)
        values (
            consumer_id, inbox_key, nextval('tower_inbox.token'), 1,
            ceil(now_s + lease_s)::int4, holder
        )
        on conflict (consumer, key) do update
        set token = excluded.token,
            attempt = l.attempt + 1,
            lease_until = excluded.lease_until,
            owner = excluded.owner
        returning 0, l.token, l.attempt;
        return;
    end loop;
end $$;

-- Counts the start of an attempt: state 0 counted, 1 the message is handled, with its age, 2 it is in
-- flight. So it is, too, if there were as many starts as tries and the last was a moment ago: whoever
-- began may still be on the way to the claim.
--
-- A server that crashes may forget the count, which then errs on the side of another attempt; a disk
-- need not wait for it. The lock is waited for a little, as by a lease.
create function tower_inbox.begin_attempt(
    consumer_id int2, inbox_key uuid, lock_id int8, tries int4, dead_after_s int4, at float8
) returns table (state int4, started int4, finished int4, age_s int8)
language plpgsql
set lock_timeout = '50ms'
as $$
#variable_conflict use_column
declare
    now_s float8;
    held_by text;
begin
    if not pg_try_advisory_xact_lock(lock_id) then
        now_s := tower_inbox.now_s(at);
        if tower_inbox.holder(consumer_id, inbox_key, now_s) = 'claim' then
            return query select 1, 0, 0, tower_inbox.age_s(consumer_id, inbox_key, now_s);
            return;
        end if;
        begin
            perform pg_advisory_xact_lock(lock_id);
        exception when lock_not_available then
            return query select 2, 0, 0, null::int8;
            return;
        end;
    end if;
    now_s := tower_inbox.now_s(at);
    held_by := tower_inbox.holder(consumer_id, inbox_key, now_s);
    if held_by = 'claim' then
        return query select 1, 0, 0, tower_inbox.age_s(consumer_id, inbox_key, now_s);
    elsif held_by = 'lease' or exists (
        select from tower_inbox.attempt a
        where a.consumer = consumer_id and a.key = inbox_key
          and a.started >= tries
          -- An attempt that failed is none that may still come.
          and a.started > a.finished
          and a.last_at > floor(now_s) - dead_after_s
          -- The clock was set back.
          and a.last_at <= ceil(now_s)
    ) then
        return query select 2, 0, 0, null::int8;
    else
        perform set_config('synchronous_commit', 'off', true);
        return query
        insert into tower_inbox.attempt as a (
            consumer, key, started, finished, first_at, last_at
        )
        values (consumer_id, inbox_key, 1, 0, floor(now_s)::int4, floor(now_s)::int4)
        on conflict (consumer, key) do update
        set started = a.started + 1, last_at = excluded.last_at
        returning 0, a.started, a.finished, null::int8;
    end if;
end $$;

-- Counts the end of an attempt, and its start where that was not counted.
create function tower_inbox.fail_attempt(
    consumer_id int2, inbox_key uuid, reason text, starts int4, at float8
) returns table (started int4, finished int4)
language sql
as $$
    insert into tower_inbox.attempt as a (
        consumer, key, started, finished, first_at, last_at, last_error
    )
    values (
        consumer_id, inbox_key, 1, 1,
        floor(tower_inbox.now_s(at))::int4, floor(tower_inbox.now_s(at))::int4, reason
    )
    on conflict (consumer, key) do update
    set started = a.started + starts,
        finished = a.finished + 1,
        last_at = excluded.last_at,
        last_error = excluded.last_error
    returning a.started, a.finished
$$;

-- Moves a message to the dead letters and claims it, so that its redeliveries are recognised. False:
-- somebody else has it.
create function tower_inbox.bury(
    consumer_id int2, inbox_key uuid, window_s int4, lock_id int8, why text, body bytea,
    starts int4, ends int4, at float8
) returns boolean
language plpgsql
as $$
declare
    now_s float8;
    until_s int4;
    tried tower_inbox.attempt;
begin
    if not pg_try_advisory_xact_lock(lock_id) then
        return false;
    end if;
    now_s := tower_inbox.now_s(at);
    if tower_inbox.holder(consumer_id, inbox_key, now_s) is not null then
        return false;
    end if;
    until_s := ceil(now_s + bury.window_s)::int4;
    insert into tower_inbox.inbox as i (key, expires_at, consumer)
    values (inbox_key, until_s, consumer_id)
    on conflict (consumer, key) do update
    set expires_at = excluded.expires_at
    -- A lease may have been completed meanwhile: that takes no advisory lock.
    where i.expires_at <= floor(now_s);
    if not found then
        return false;
    end if;
    delete from tower_inbox.lease l
    where l.consumer = consumer_id and l.key = inbox_key;
    delete from tower_inbox.attempt a
    where a.consumer = consumer_id and a.key = inbox_key
    returning * into tried;
    insert into tower_inbox.dead_letter as d (
        consumer, key, started, finished, first_at, died_at, claimed_until, reason, payload
    )
    values (
        consumer_id, inbox_key, starts, ends,
        coalesce(tried.first_at, floor(now_s)::int4), floor(now_s)::int4, until_s, why, body
    )
    on conflict (consumer, key) do update
    set started = excluded.started,
        finished = excluded.finished,
        died_at = excluded.died_at,
        deaths = d.deaths + 1,
        claimed_until = excluded.claimed_until,
        requeued_at = null,
        taken_until = null,
        reason = excluded.reason,
        -- A layer that keeps none does not lose what another one kept.
        payload = coalesce(excluded.payload, d.payload);
    return true;
end $$;
