create table if not exists {table} (
    id integer primary key,
    inbox_key text not null,
    message text not null,
    handled_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
