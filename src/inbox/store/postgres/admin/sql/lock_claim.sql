select from tower_inbox.inbox
where consumer = $1
  and key = $2
for update
