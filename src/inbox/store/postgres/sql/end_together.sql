delete from tower_inbox.attempt
where consumer = $1
  and key = any ($2)
