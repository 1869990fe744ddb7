select pg_relation_size('tower_inbox.bucket_0') / current_setting('block_size')::int8
