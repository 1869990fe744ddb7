select tower_inbox.bucket_roll($1, $2)
