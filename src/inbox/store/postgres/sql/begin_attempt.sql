select state, started, finished, age_s
from tower_inbox.begin_attempt($1, $2, $3, $4, $5, $6)
