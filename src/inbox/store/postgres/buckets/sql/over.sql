select tower_inbox.bucket_over($1, $2)
