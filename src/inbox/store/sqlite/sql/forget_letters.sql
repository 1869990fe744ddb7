with recursive asked (place) as (
    select 0
    union all
    select place + 1
    from asked
    where 16 * (place + 1) < length(?2)
)
delete from tower_inbox_dead_letter
where consumer = ?1
  and key in (select substr(?2, 16 * place + 1, 16) from asked)
