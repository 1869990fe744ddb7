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
select decode(md5(gen_random_uuid()::text || gen_random_uuid()::text), 'hex');

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
    until_s int4;
    now_s float8;
begin
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
        select i.expires_at into until_s
        from tower_inbox.inbox i
        where i.consumer = consumer_id and i.key = inbox_key;
        continue when not found;

        if until_s > floor(now_s) then
            if exists (
                select from tower_inbox.lease l
                where l.consumer = consumer_id and l.key = inbox_key
                  and l.lease_until > floor(now_s)
            ) then
                raise exception using errcode = 'TI002', message = 'tower-inbox: in flight';
            end if;
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
    until_s int4;
    now_s float8;
begin
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
            select i.expires_at into until_s
            from tower_inbox.inbox i
            where i.consumer = consumer_id and i.key = inbox_key;
            continue when not found;
            if until_s > floor(now_s) then
                return query select
                    case when exists (
                        select from tower_inbox.lease l
                        where l.consumer = consumer_id and l.key = inbox_key
                          and l.lease_until > floor(now_s)
                    ) then 2 else 1 end, 0::int8, 0;
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
-- statement of its own, so a late holder sees whoever took over while it waited.
create function tower_inbox.settle(
    deed text, consumer_id int2, inbox_key uuid, lease_token int8, for_s int4, at float8
) returns boolean
language plpgsql
as $$
declare
    now_s float8;
begin
    perform from tower_inbox.inbox i
    where i.consumer = consumer_id and i.key = inbox_key
    for update;
    now_s := tower_inbox.now_s(at);
    perform from tower_inbox.lease l
    where l.consumer = consumer_id and l.key = inbox_key
      and l.token = lease_token and l.lease_until > floor(now_s)
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
