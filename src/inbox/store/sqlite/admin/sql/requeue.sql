update tower_inbox_dead_letter
set requeued_at = ?3,
    taken_until = null
where consumer = ?1
  and key = ?2
