select started, finished
from tower_inbox_dead_letter
where consumer = ?1
  and key = ?2
  and requeued_at is null
