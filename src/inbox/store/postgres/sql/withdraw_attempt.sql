update tower_inbox.attempt
set started = started - 1
where consumer = $1
  and key = $2
  and started > finished
