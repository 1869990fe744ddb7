with recursive asked (place) as (
    select 0
    union all
    select place + 1
    from asked
    where 16 * (place + 1) < length(?2)
)
select t.key
from asked a
cross join tower_inbox_attempt t
  on t.consumer = ?1 and t.key = substr(?2, 16 * a.place + 1, 16)
