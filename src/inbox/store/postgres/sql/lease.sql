select state, token, attempt
from tower_inbox.lease($1, $2, $3, $4, $5, $6)
