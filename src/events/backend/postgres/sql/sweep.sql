select s.removed, s.pages
from tower_inbox.event_sweep($1, $2) s
