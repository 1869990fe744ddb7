update tower_inbox_meta
set swept_at = ?2
where swept_at <= ?2 - ?1
   or swept_at > ?2 + 1
