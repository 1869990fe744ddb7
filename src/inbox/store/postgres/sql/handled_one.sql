select (
    select case
        -- An expiry is rounded up.
        when i.expires_at - asked.window_s <= ceil(asked.now_s)
        then greatest(floor(asked.now_s)::int8 - (i.expires_at - asked.window_s), 0)
        else -1
    end
    from (
        select
            coalesce($3, date_part('epoch', clock_timestamp()) - 1577836800) as now_s,
            (select c.window_s from tower_inbox.consumer c where c.id = $1) as window_s
    ) asked
    join tower_inbox.inbox i
      on i.expires_at > floor(asked.now_s)
    where i.consumer = $1
      and i.key = $2
      and i.expires_at is distinct from (
          select l.lease_until
          from tower_inbox.lease l
          where l.consumer = $1
            and l.key = $2
      )
)
