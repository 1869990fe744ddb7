select id, key_probe, window_s, store
from tower_inbox.consumer
where name = $1
