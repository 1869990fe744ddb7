select tower_inbox.settle($1, $2, $3, $4, $5, $6)
from tower_inbox.alone()
