select state, token, attempt
from tower_inbox.bucket_lease($1, $2, $3, $4, $5, $6, $7)
