select tower_inbox.bucket_empty($1, $2, $3, $4)
