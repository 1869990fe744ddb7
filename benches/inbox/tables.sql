create table orders (
    order_id int8 not null,
    email text not null,
    cents int8 not null
);

create table naive_inbox (
    key uuid not null,
    expires_at timestamptz not null,
    consumer int2 not null,
    primary key (consumer, key)
);

create function bench_claim(consumer_id int2, inbox_key uuid, window_s int4) returns void
language plpgsql
as $$
begin
    insert into tower_inbox.inbox (key, expires_at, consumer)
    values (
        inbox_key,
        ceil(date_part('epoch', clock_timestamp()) - 1577836800 + window_s)::int4,
        consumer_id
    )
    on conflict do nothing;
    if not found then
        raise exception using errcode = 'TI001', message = 'duplicate';
    end if;
end $$;

create function bench_wait(lock_id int8, wait_ms int4, window_s int4) returns int4
language plpgsql
set lock_timeout = 0
as $$
begin
    perform set_config('lock_timeout', greatest(wait_ms, 1)::text, true);
    perform pg_advisory_xact_lock(lock_id);
    return window_s;
exception when lock_not_available then
    raise exception using errcode = 'TI002', message = 'in flight';
end $$;

create function bench_take_over(
    consumer_id int2, inbox_key uuid, until_s int4, then_s int4, at float8
) returns int4
language plpgsql
as $$
begin
    if until_s > floor(tower_inbox.now_s(at)) then
        raise exception using errcode = 'TI001', message = 'duplicate';
    end if;
    delete from tower_inbox.lease where consumer = consumer_id and key = inbox_key;
    return then_s;
end $$;
