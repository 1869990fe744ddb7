update tower_inbox.consumer
set window_s = $2
where id = $1
  and window_s <> $2
