delete from tower_inbox.lease
where lease_until <= floor(tower_inbox.now_s($2)) - $1
