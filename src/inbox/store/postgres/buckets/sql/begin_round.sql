update tower_inbox.meta
set buckets_swept_at = floor(tower_inbox.now_s($2))::int4
where buckets_swept_at <= floor(tower_inbox.now_s($2)) - $1
   or buckets_swept_at > ceil(tower_inbox.now_s($2))
