select tower_inbox.bucket_sweep($1::text::tid, $2::text::tid, $3, $4, $5)
