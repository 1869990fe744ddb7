select id, key_probe, window_s
from tower_inbox.consumer
where name = $1
