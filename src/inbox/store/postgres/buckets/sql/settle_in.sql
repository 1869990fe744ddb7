select tower_inbox.bucket_settle($1, $2, $3, $4, $5, $6, $7, $8)
