-- Events: which were seen, and which are being handled. Times are whole milliseconds since 1970-01-01
-- 00:00:00 UTC in an int8, rounded so that nothing is forgotten, and no lease over, too early.

create table tower_inbox.event_namespace (
    -- Another number takes its place when the namespace is cleared, so that everything in it is
    -- forgotten at once, whoever writes at the time.
    id int4 generated always as identity primary key,
    name text not null unique,
    -- 244 random bits from the server's strong generator, folded into 128.
    secret bytea not null default substring(
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) from 1 for 16
    ) check (length(secret) = 16),
    -- Whether the ids themselves are kept beside their signatures.
    exact boolean not null,
    registered_at timestamptz not null default now()
);

-- One row for an event that was seen (until `expires_at`), is claimed (`lease_until` is there; over when
-- it is past), or both, which are 60 bytes and an index entry for one that was seen. There is no index on
-- the expiry, which each event would have to pay for: the sweep walks over the pages.
create table tower_inbox.event (
    expires_at int8 not null,
    id uuid not null,
    namespace int4 not null,
    -- Whether the last mark found the event new: the way on which an update tells what was there before.
    fresh boolean not null default true,
    token uuid,
    lease_until int8,
    exact bytea,
    primary key (namespace, id)
) with (autovacuum_vacuum_scale_factor = 0.05);

-- The server's clock.
create function tower_inbox.event_now() returns int8
language sql volatile
as $$ select floor(extract(epoch from clock_timestamp()) * 1000)::int8 $$;

-- When something is forgotten: the end of the window, rounded up to a whole slot. Null is a window
-- without an end.
create function tower_inbox.event_until(now_ms int8, window_ms int8, slot_ms int8) returns int8
language sql immutable
as $$
    select case
        when window_ms is null then 9223372036854775807
        else (now_ms + window_ms + slot_ms) / slot_ms * slot_ms
    end
$$;

-- Whether the namespace has the number that the caller knows. It has not after it was cleared by another
-- process, or after the tables were made anew, where the number may be somebody else's.
create function tower_inbox.event_space(namespace_id int4, namespace_secret bytea) returns boolean
language plpgsql
as $$
begin
    perform tower_inbox.alone();
    perform from tower_inbox.event_namespace n
    where n.id = namespace_id and n.secret = namespace_secret;
    return found;
end $$;

-- What is known of the ids of a batch, in its order. The `offset` keeps it a look into the index for
-- each: a plan that was made while the table was small, and kept, must not read the whole table.
create function tower_inbox.event_look_up(
    namespace_id int4, ids uuid[], exacts text[], now_ms int8
) returns table (
    n int8, id uuid, exact bytea, seen boolean, seen_until int8, leased boolean, owner uuid,
    other boolean
)
language plpgsql rows 1000
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
    return query
    select
        b.n, b.id, b.exact,
        coalesce(e.expires_at > now_ms, false), e.expires_at,
        coalesce(e.lease_until > now_ms, false), e.token,
        -- Another event with the same signature.
        coalesce(e.expires_at > now_ms or e.lease_until > now_ms, false)
            and e.exact is distinct from b.exact
    from (
        select u.id, decode(u.exact, 'hex') as exact, u.n
        from unnest(ids, exacts) with ordinality u(id, exact, n)
    ) b
    left join lateral (
        select l.expires_at, l.lease_until, l.token, l.exact
        from tower_inbox.event l
        where l.namespace = namespace_id and l.id = b.id
        offset 0
    ) e on true;
end $$;

-- The functions below answer with one letter for each id, and with null where the namespace is not
-- there any more. The letter x is another event with the same signature.
--
-- The ids of a batch are distinct and in order: two batches that meet do not wait for each other.

-- Which events were seen: 1, or 0.
create function tower_inbox.event_look(
    namespace_id int4, namespace_secret bytea, ids uuid[], exacts text[]
) returns text
language plpgsql
as $$
declare
    now_ms int8 := tower_inbox.event_now();
begin
    if not tower_inbox.event_space(namespace_id, namespace_secret) then
        return null;
    end if;
    return (
        select string_agg(
            case when l.other then 'x' when l.seen then '1' else '0' end, '' order by l.n
        )
        from tower_inbox.event_look_up(namespace_id, ids, exacts, now_ms) l
    );
end $$;

-- Marks events as seen: 1 it was new, 0 it was not.
--
-- Looks before it inserts, because a conflict locks the row, and that is a write: a duplicate writes
-- nothing, or with a sliding window once a slot.
create function tower_inbox.event_mark(
    namespace_id int4, namespace_secret bytea, ids uuid[], exacts text[],
    window_ms int8, slot_ms int8, sliding boolean
) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
    now_ms int8 := tower_inbox.event_now();
    until_ms int8 := tower_inbox.event_until(now_ms, window_ms, slot_ms);
    answer text;
begin
    if not tower_inbox.event_space(namespace_id, namespace_secret) then
        return null;
    end if;
    with looked as materialized (
        select l.n, l.id, l.exact, l.seen, l.seen_until, l.other
        from tower_inbox.event_look_up(namespace_id, ids, exacts, now_ms) l
    ), marked as (
        insert into tower_inbox.event as e (expires_at, id, namespace, exact)
        select until_ms, l.id, namespace_id, l.exact
        from looked l
        where not l.other and (not l.seen or sliding and l.seen_until < until_ms)
        order by l.id
        on conflict (namespace, id) do update
        set expires_at = greatest(e.expires_at, excluded.expires_at),
            fresh = e.expires_at <= now_ms,
            exact = excluded.exact
        where e.expires_at <= now_ms or sliding and e.expires_at < excluded.expires_at
        returning e.id, e.fresh
    )
    select string_agg(
        case when l.other then 'x' when m.fresh then '1' else '0' end, '' order by l.n
    )
    into answer
    from looked l
    left join marked m on m.id = l.id;
    return answer;
end $$;

-- Claims events, each under its token: c claimed, s it was seen, f it is in flight, and the token of who
-- has it.
create function tower_inbox.event_claim(
    namespace_id int4, namespace_secret bytea, ids uuid[], exacts text[], tokens uuid[], lease_ms int8
) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
    now_ms int8;
    answer text;
begin
    if not tower_inbox.event_space(namespace_id, namespace_secret) then
        return null;
    end if;
    for look in 1..100 loop
        now_ms := tower_inbox.event_now();
        with looked as materialized (
            select l.n, l.id, l.exact, l.seen, l.leased, l.owner, l.other, tokens[l.n] as token
            from tower_inbox.event_look_up(namespace_id, ids, exacts, now_ms) l
        ), taken as (
            insert into tower_inbox.event as e
                (expires_at, id, namespace, token, lease_until, exact)
            select 0, l.id, namespace_id, l.token, now_ms + 1 + lease_ms, l.exact
            from looked l
            where not l.other and not l.seen and (not l.leased or l.owner = l.token)
            order by l.id
            on conflict (namespace, id) do update
            set token = excluded.token,
                lease_until = excluded.lease_until,
                exact = excluded.exact
            where e.expires_at <= now_ms
              and (e.lease_until is null or e.lease_until <= now_ms or e.token = excluded.token)
            returning e.id
        )
        select string_agg(
            case
                when l.other then 'x'
                when t.id is not null then 'c'
                when l.seen then 's'
                when l.leased and l.owner <> l.token then 'f' || l.owner
                else '?'
            end,
            '' order by l.n
        )
        into answer
        from looked l
        left join taken t on t.id = l.id;
        -- Somebody was faster: the next look sees who, and claims again what is ours already.
        if position('?' in answer) = 0 then
            return answer;
        end if;
    end loop;
    raise exception using
        errcode = 'serialization_failure',
        message = 'tower-inbox: others change these events all the time';
end $$;

-- Marks claimed events as seen and gives the claims up: 1, or 0 where somebody else has the event. A
-- claim that ran out and that nobody took over is as good as one that did not.
create function tower_inbox.event_confirm(
    namespace_id int4, namespace_secret bytea, ids uuid[], exacts text[], tokens uuid[],
    window_ms int8, slot_ms int8
) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
    now_ms int8 := tower_inbox.event_now();
    until_ms int8 := tower_inbox.event_until(now_ms, window_ms, slot_ms);
    answer text;
begin
    if not tower_inbox.event_space(namespace_id, namespace_secret) then
        return null;
    end if;
    with looked as materialized (
        select l.n, l.id, l.exact, l.other, tokens[l.n] as token
        from tower_inbox.event_look_up(namespace_id, ids, exacts, now_ms) l
    ), marked as (
        -- A row with a token and no lease has no claim. The token is there to be compared.
        insert into tower_inbox.event as e (expires_at, id, namespace, token, exact)
        select until_ms, l.id, namespace_id, l.token, l.exact
        from looked l
        where not l.other
        order by l.id
        on conflict (namespace, id) do update
        set expires_at = greatest(e.expires_at, excluded.expires_at),
            token = null,
            lease_until = null,
            exact = excluded.exact
        where e.lease_until is null or e.lease_until <= now_ms or e.token = excluded.token
        returning e.id
    )
    select string_agg(
        case when l.other then 'x' when m.id is not null then '1' else '0' end, '' order by l.n
    )
    into answer
    from looked l
    left join marked m on m.id = l.id;
    return answer;
end $$;

-- Gives claims up: 1, or 0 where there is none under the token.
create function tower_inbox.event_release(
    namespace_id int4, namespace_secret bytea, ids uuid[], tokens uuid[]
) returns text
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    answer text;
begin
    if not tower_inbox.event_space(namespace_id, namespace_secret) then
        return null;
    end if;
    with asked as materialized (
        select b.n, b.id, b.token
        from unnest(ids, tokens) with ordinality b(id, token, n)
        order by b.id
    ), held as materialized (
        -- Locked in the order of the ids, which the update below need not keep.
        select a.n, a.id
        from asked a
        cross join lateral (
            select from tower_inbox.event l
            where l.namespace = namespace_id and l.id = a.id
              and l.token = a.token and l.lease_until is not null
            for update
        ) e
    ), freed as (
        update tower_inbox.event e
        set token = null, lease_until = null
        from held h
        where e.namespace = namespace_id and e.id = h.id
        returning h.n
    )
    select string_agg(case when f.n is null then '0' else '1' end, '' order by a.n)
    into answer
    from asked a
    left join freed f on f.n = a.n;
    return answer;
end $$;

-- Deletes what is over in a range of pages: forgotten and not claimed, or of a namespace that was
-- cleared. Leaves out what somebody is writing at the moment, so it waits for nobody. Pages are counted
-- round and round; also returns how many there are.
create function tower_inbox.event_sweep(
    first_page int8, page_count int8, out removed int8, out pages int8
)
language plpgsql
as $$
declare
    now_ms int8 := tower_inbox.event_now();
    first_row tid;
    end_row tid;
begin
    pages := pg_relation_size('tower_inbox.event') / current_setting('block_size')::int8;
    first_page := first_page % greatest(pages, 1);
    first_row := format('(%s,0)', first_page)::tid;
    end_row := format('(%s,0)', first_page + page_count)::tid;
    delete from tower_inbox.event e
    where e.ctid = any (array(
        select l.ctid
        from tower_inbox.event l
        where l.ctid >= first_row and l.ctid < end_row
          and (
              l.expires_at <= now_ms and coalesce(l.lease_until <= now_ms, true)
              or l.namespace <> all (array(select n.id from tower_inbox.event_namespace n))
          )
        for update skip locked
    ));
    get diagnostics removed = row_count;
end $$;

-- Deletes some rows of a namespace that was cleared, after an id; the last one that it looked at, or null
-- when there are no more.
create function tower_inbox.event_remove(
    namespace_id int4, after_id uuid, most int8, out removed int8, out last_id uuid
)
language plpgsql
set enable_seqscan = off
as $$
begin
    with doomed as (
        select l.id
        from tower_inbox.event l
        where l.namespace = namespace_id and (after_id is null or l.id > after_id)
        order by l.id
        limit most
        for update skip locked
    ), gone as (
        delete from tower_inbox.event e
        using doomed d
        where e.namespace = namespace_id and e.id = d.id
        returning e.id
    )
    select count(*), (array_agg(g.id order by g.id desc))[1] into removed, last_id from gone g;
end $$;
