select id, key_probe
from tower_inbox_consumer
where name = ?1
