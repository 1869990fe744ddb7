select a.id, a.at - 1577836800, a.actor, a.action, a.consumer, a.key, a.detail
from tower_inbox_audit a
where (?1 is null or a.consumer = ?1)
  and (?2 is null or a.key = ?2)
  and a.id < ?3
order by a.id desc
limit ?4
