select tower_inbox.bury($1, $2, $3, $4, $5, $6, $7, $8, $9)
