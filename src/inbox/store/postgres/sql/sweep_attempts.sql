delete from tower_inbox.attempt
where last_at <= floor(tower_inbox.now_s($2)) - $1
