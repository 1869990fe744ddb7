select started, finished
from tower_inbox.fail_attempt($1, $2, $3, $4, $5)
