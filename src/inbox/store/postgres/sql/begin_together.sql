select tower_inbox.begin_together($1, $2, $3, $4)
