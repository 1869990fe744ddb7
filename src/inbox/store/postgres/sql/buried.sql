select d.started, d.finished
from tower_inbox.dead_letter d
join tower_inbox.inbox i
  on i.consumer = d.consumer and i.key = d.key and i.expires_at = d.claimed_until
where d.consumer = $1
  and d.key = $2
  and d.requeued_at is null
