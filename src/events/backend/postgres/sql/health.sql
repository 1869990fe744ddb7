select
    current_setting('server_version'),
    current_setting('transaction_read_only') = 'on',
    tower_inbox.event_now(),
    c.reltuples::int8
from pg_catalog.pg_class c
where c.oid = 'tower_inbox.event'::regclass
