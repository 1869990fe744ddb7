select actor
from tower_inbox_audit
where consumer = ?1
  and key = ?2
  and action = 'requeue'
order by id desc
limit 1
