update tower_inbox.meta
set swept_at = floor(tower_inbox.now_s($2))::int4
where swept_at <= floor(tower_inbox.now_s($2)) - $1
   or swept_at > ceil(tower_inbox.now_s($2))
