-- A cheaper claim: a plain insert that looks first, instead of an insert that may do nothing inside a
-- query that asks whether it did. And a cheaper sweep.

-- The slow half of a claim, entered when a row is there already or another delivery is at work. Removes
-- an expired claim, so that the insert which asked finds room, and returns when the new one ends; or
-- says who is there: TI001 a duplicate, with its age as the detail, TI002 in flight.
--
-- The `set` clause is not about its value: it makes PostgreSQL restore the caller's lock_timeout
-- when the function returns.
create function tower_inbox.make_room(
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

-- Deletes what ended in a range of pages; null if another session is at it.
--
-- A row may be held for long by a handler whose delivery took the expired claim over. The batch waits
-- for it for a moment only, because claims of the rows that it has deleted so far wait for the batch;
-- then it does without the rows that are held. (Always skipping them costs half as much again.)
--
-- A crash of the server may bring expired rows back, which are swept again; so no batch waits for the
-- disk, where it would be in the way of the commits of claims.
create or replace function tower_inbox.sweep(
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
    perform set_config('synchronous_commit', 'off', true);
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
