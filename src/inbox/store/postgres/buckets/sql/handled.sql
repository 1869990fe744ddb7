select tower_inbox.bucket_handled($1, $2, $3)
