-- The inbox. Times are whole seconds since 2020-01-01 00:00:00 UTC in an int4, which lasts until
-- 2088 and keeps a row at 104.6 bytes with its index entry: key first and consumer last, so that no
-- byte is lost to alignment.

create table tower_inbox.meta (
    one boolean primary key default true check (one),
    secret bytea not null check (length(secret) = 16),
    swept_at int4 not null default 0
);

-- 244 random bits from the server's strong generator, folded into 128.
insert into tower_inbox.meta (secret)
select substring(
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) from 1 for 16
);

create table tower_inbox.consumer (
    id int2 generated always as identity primary key,
    name text not null unique,
    key_probe uuid not null,
    window_s int4 not null,
    registered_at timestamptz not null default now()
);

create table tower_inbox.inbox (
    key uuid not null,
    expires_at int4 not null,
    consumer int2 not null,
    primary key (consumer, key)
);

-- A fencing token is larger than every one given out before it, for all consumers.
create sequence tower_inbox.token as int8;

create table tower_inbox.lease (
    consumer int2 not null,
    key uuid not null,
    token int8 not null,
    attempt int4 not null,
    lease_until int4 not null,
    owner text not null,
    primary key (consumer, key)
);

-- Seconds since the epoch above; a test gives its own clock.
create function tower_inbox.now_s(at float8) returns float8
language sql volatile
as $$ select coalesce(at, date_part('epoch', clock_timestamp()) - 1577836800) $$;

-- Whether a message is handled, or held by a lease, at a moment; null if it is free. A lease counts
-- only while it agrees with the claim beside it: what is left of an older one says nothing, even if
-- the clock was set back.
create function tower_inbox.holder(consumer_id int2, inbox_key uuid, now_s float8) returns text
language sql stable
as $$
    select case when l.key is null then 'claim' else 'lease' end
    from tower_inbox.inbox i
    left join tower_inbox.lease l
      on l.consumer = i.consumer and l.key = i.key and l.lease_until = i.expires_at
    where i.consumer = consumer_id and i.key = inbox_key and i.expires_at > floor(now_s)
$$;

-- The slow half of a claim, entered only when the insert of the fast half found something in its
-- way. Takes over an expired claim, or says who is there: TI001 a duplicate, TI002 in flight.
--
-- The `set` clause is not about its value: it makes PostgreSQL restore the caller's lock_timeout
-- when the function returns.
create function tower_inbox.contend(
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
    if tower_inbox.holder(consumer_id, inbox_key, tower_inbox.now_s(at)) = 'claim' then
        raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate';
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
            raise exception using errcode = 'TI001', message = 'tower-inbox: duplicate';
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

-- Claims with a lease: state 0 granted, 1 duplicate, 2 in flight.
--
-- Waits for the lock a little: a session that was told of a duplicate a moment ago may not have
-- finished its rollback.
create function tower_inbox.lease(
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
    if tower_inbox.holder(consumer_id, inbox_key, tower_inbox.now_s(at)) = 'claim' then
        return query select 1, 0::int8, 0;
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
                return query select case held_by when 'claim' then 1 else 2 end, 0::int8, 0;
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

-- What a holder does with its lease: 'complete' turns it into a claim for a window, 'release' lets
-- the next delivery have it, 'extend' asks for more time. False: the lease was lost.
--
-- The inbox row is locked first, as every other path does, and the token is read afterwards in a
-- statement of its own, so a late holder sees whoever took over while it waited. The lease has to
-- agree with the inbox row, which a claim that came later does not.
create function tower_inbox.settle(
    deed text, consumer_id int2, inbox_key uuid, lease_token int8, for_s int4, at float8
) returns boolean
language plpgsql
as $$
declare
    until_s int4;
    now_s float8;
begin
    select i.expires_at into until_s
    from tower_inbox.inbox i
    where i.consumer = consumer_id and i.key = inbox_key
    for update;
    now_s := tower_inbox.now_s(at);
    perform from tower_inbox.lease l
    where l.consumer = consumer_id and l.key = inbox_key
      and l.token = lease_token and l.lease_until = until_s and l.lease_until > floor(now_s)
    for update;
    if not found then
        return false;
    end if;

    if deed = 'release' then
        delete from tower_inbox.inbox i
        where i.consumer = consumer_id and i.key = inbox_key;
        -- The row stays, for the number of attempts.
        update tower_inbox.lease l
        set lease_until = floor(now_s)::int4
        where l.consumer = consumer_id and l.key = inbox_key;
    else
        update tower_inbox.inbox i
        set expires_at = ceil(now_s + for_s)::int4
        where i.consumer = consumer_id and i.key = inbox_key;
        if deed = 'complete' then
            delete from tower_inbox.lease l
            where l.consumer = consumer_id and l.key = inbox_key;
        else
            update tower_inbox.lease l
            set lease_until = ceil(now_s + for_s)::int4
            where l.consumer = consumer_id and l.key = inbox_key;
        end if;
    end if;
    return true;
end $$;

-- Deletes what ended in a range of pages; null if another session is at it.
--
-- A row may be held for long by a handler whose delivery took the expired claim over. The batch waits
-- for it for a moment only, because claims of the rows that it has deleted so far wait for the batch;
-- then it does without the rows that are held. (Always skipping them costs half as much again.)
create function tower_inbox.sweep(
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
        delete from tower_inbox.inbox i
        where i.ctid >= first_row and i.ctid < end_row and i.expires_at <= ended;
    exception when lock_not_available then
        delete from tower_inbox.inbox i
        where i.ctid = any (array(
            select l.ctid
            from tower_inbox.inbox l
            where l.ctid >= first_row and l.ctid < end_row and l.expires_at <= ended
            for update skip locked
        ));
    end;
    get diagnostics removed = row_count;
    return removed;
end $$;
