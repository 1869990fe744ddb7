select n.id, n.secret, n.exact, current_setting('server_version_num')::int4
from tower_inbox.event_namespace n
where n.name = $1
