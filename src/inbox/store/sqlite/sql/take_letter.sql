update tower_inbox_dead_letter
set taken_until = ?4 + ?5
where (consumer, key) = (
    select d.consumer, d.key
    from tower_inbox_dead_letter d
    join tower_inbox_consumer c
      on c.id = d.consumer
    where c.name = ?1
      and d.requeued_at is not null
      and d.payload is not null
      and (d.taken_until is null or d.taken_until <= ?5)
      and (d.requeued_at, d.key) > (?2, ?3)
    order by d.requeued_at, d.key
    limit 1
)
returning consumer, key, deaths, requeued_at, payload
