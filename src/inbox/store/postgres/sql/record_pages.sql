select pg_relation_size('tower_inbox.record') / current_setting('block_size')::int8
