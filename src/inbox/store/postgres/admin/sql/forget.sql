with record as (
    delete from tower_inbox.record
    where consumer = $1
      and key = $2
),
attempt as (
    delete from tower_inbox.attempt
    where consumer = $1
      and key = $2
),
lease as (
    delete from tower_inbox.lease
    where consumer = $1
      and key = $2
)
delete from tower_inbox.inbox
where consumer = $1
  and key = $2
