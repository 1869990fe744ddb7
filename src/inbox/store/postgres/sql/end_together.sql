with letter as (
    delete from tower_inbox.dead_letter
    where consumer = $1
      and key = any ($2)
)
delete from tower_inbox.attempt
where consumer = $1
  and key = any ($2)
