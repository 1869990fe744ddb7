select tower_inbox.event_release($1, $2, $3, $4)
