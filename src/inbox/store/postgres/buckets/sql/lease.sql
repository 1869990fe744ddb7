select l.state, l.token, l.attempt
from tower_inbox.alone()
cross join tower_inbox.bucket_lease($1, $2, $3, $4, $5, $6, $7) l
