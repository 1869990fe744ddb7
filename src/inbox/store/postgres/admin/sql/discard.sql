delete from tower_inbox.dead_letter
where consumer = $1
  and key = $2
