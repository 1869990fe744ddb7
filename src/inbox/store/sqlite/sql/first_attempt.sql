select first_at
from tower_inbox_attempt
where consumer = ?1
  and key = ?2
