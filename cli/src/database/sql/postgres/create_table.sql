create table if not exists {table} (
    id bigint generated always as identity primary key,
    inbox_key uuid not null,
    message json not null,
    handled_at timestamptz not null default now()
)
