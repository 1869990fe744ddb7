update tower_inbox.event_namespace
set id = default
where id = $1 and secret = $2 and tower_inbox.alone()
returning id
