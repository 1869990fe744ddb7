select pg_relation_size('tower_inbox.inbox') / current_setting('block_size')::int8
