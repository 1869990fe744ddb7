update tower_inbox.dead_letter
set requeued_at = floor(tower_inbox.now_s($3))::int4,
    taken_until = null
where consumer = $1
  and key = $2
