-- The inbox. Times are whole seconds since 2020-01-01 00:00:00 UTC, as in the PostgreSQL schema.

create table tower_inbox_meta (
    one integer primary key default 1 check (one = 1),
    secret blob not null check (length(secret) = 16),
    swept_at integer not null default 0,
    token integer not null default 0
) strict;

insert into tower_inbox_meta (secret) values (randomblob(16));

create table tower_inbox_consumer (
    id integer primary key,
    name text not null unique,
    key_probe blob not null,
    window_s integer not null,
    registered_at integer not null default (unixepoch())
) strict;

create table tower_inbox_inbox (
    consumer integer not null,
    key blob not null,
    expires_at integer not null,
    primary key (consumer, key)
) strict, without rowid;

create table tower_inbox_lease (
    consumer integer not null,
    key blob not null,
    token integer not null,
    attempt integer not null,
    lease_until integer not null,
    owner text not null,
    primary key (consumer, key)
) strict, without rowid;
