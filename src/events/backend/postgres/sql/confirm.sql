select tower_inbox.event_confirm($1, $2, $3, $4, $5, $6, $7)
