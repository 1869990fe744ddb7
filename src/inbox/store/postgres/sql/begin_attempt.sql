select state, started, finished
from tower_inbox.begin_attempt($1, $2, $3, $4)
