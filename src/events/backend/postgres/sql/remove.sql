select r.last_id
from tower_inbox.event_remove($1, $2, $3) r
