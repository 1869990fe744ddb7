update tower_inbox_meta
set token = token + 1
returning token
