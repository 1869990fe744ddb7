select tower_inbox.event_claim($1, $2, $3, $4, $5, $6)
