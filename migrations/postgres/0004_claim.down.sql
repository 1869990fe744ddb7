drop function tower_inbox.make_room(int2, uuid, int4, int8, int4, float8);

-- Deletes what ended in a range of pages; null if another session is at it.
--
-- A row may be held for long by a handler whose delivery took the expired claim over. The batch waits
-- for it for a moment only, because claims of the rows that it has deleted so far wait for the batch;
-- then it does without the rows that are held. (Always skipping them costs half as much again.)
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
