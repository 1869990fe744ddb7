select bucket, seen
from tower_inbox_duplicate_age
where consumer = ?1
order by bucket
