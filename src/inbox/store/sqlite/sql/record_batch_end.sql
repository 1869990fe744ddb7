select consumer, key
from tower_inbox_record
where (consumer, key) > (?1, ?2)
order by consumer, key
limit 1
offset ?3
