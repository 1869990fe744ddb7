select tower_inbox.event_mark($1, $2, $3, $4, $5, $6, $7)
