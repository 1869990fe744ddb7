-- The same as in PostgreSQL's 0002, without functions: what a layer keeps beside a claim where it is
-- asked to, and what people want to know.

create table tower_inbox_record (
    consumer integer not null,
    key blob not null,
    expires_at integer not null,
    fingerprint blob,
    response blob,
    primary key (consumer, key)
) strict, without rowid;

create table tower_inbox_attempt (
    consumer integer not null,
    key blob not null,
    started integer not null,
    finished integer not null,
    first_at integer not null,
    last_at integer not null,
    last_error text,
    primary key (consumer, key)
) strict, without rowid;

create table tower_inbox_dead_letter (
    consumer integer not null,
    key blob not null,
    started integer not null,
    finished integer not null,
    first_at integer not null,
    died_at integer not null,
    deaths integer not null default 1,
    claimed_until integer not null,
    requeued_at integer,
    taken_until integer,
    reason text not null,
    payload blob,
    primary key (consumer, key)
) strict;

create index tower_inbox_dead_letter_requeued
on tower_inbox_dead_letter (consumer, requeued_at, key)
where requeued_at is not null;

create table tower_inbox_duplicate_age (
    consumer integer not null,
    bucket integer not null,
    seen integer not null,
    primary key (consumer, bucket)
) strict, without rowid;

create table tower_inbox_audit (
    id integer primary key,
    at integer not null default (unixepoch()),
    actor text not null,
    action text not null,
    consumer text not null,
    key blob,
    detail text
) strict;
