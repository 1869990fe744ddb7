select tower_inbox.bucket_enter($1, $2, $3)
