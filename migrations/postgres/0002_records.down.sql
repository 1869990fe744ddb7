-- Responses, fingerprints, attempts, dead letters and the audit are lost.

-- A dead letter was not handled: with its letter goes its claim, and its next delivery is new.
delete from tower_inbox.inbox i
using tower_inbox.dead_letter d
where i.consumer = d.consumer and i.key = d.key
  and i.expires_at = d.claimed_until and d.requeued_at is null;

drop function tower_inbox.bury;
drop function tower_inbox.fail_attempt;
drop function tower_inbox.begin_attempt;

-- The slow half of a claim, entered only when the insert of the fast half found something in its
-- way. Takes over an expired claim, or says who is there: TI001 a duplicate, TI002 in flight.
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

drop function tower_inbox.age_s;
drop function tower_inbox.alone;

drop table tower_inbox.audit;
drop table tower_inbox.duplicate_age;
drop table tower_inbox.dead_letter;
drop table tower_inbox.attempt;
drop table tower_inbox.record;
