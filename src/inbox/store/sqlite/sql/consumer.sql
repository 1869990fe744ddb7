select id, key_probe, window_s
from tower_inbox_consumer
where name = ?1
