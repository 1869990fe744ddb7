with recursive asked (place) as (
    select 0
    union all
    select place + 1
    from asked
    where 16 * (place + 1) < length(?2)
)
insert into tower_inbox_attempt (consumer, key, started, finished, first_at, last_at)
select ?1, substr(?2, 16 * place + 1, 16), 0, 0, ?3, ?3
from asked
where true
on conflict (consumer, key) do nothing
