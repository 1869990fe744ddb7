select id, key_probe
from tower_inbox.consumer
where name = $1
