select d.started, d.finished, i.key is null
from tower_inbox_dead_letter d
left join tower_inbox_inbox i
  on i.consumer = d.consumer and i.key = d.key
where d.consumer = ?1
  and d.key = ?2
  and (i.key is null or (d.requeued_at is null and i.expires_at = d.claimed_until))
