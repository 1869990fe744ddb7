select tower_inbox.event_look($1, $2, $3, $4)
