select exists (
    select 1
    from tower_inbox_lease l
    join tower_inbox_inbox i
      on i.consumer = l.consumer and i.key = l.key and i.expires_at = l.lease_until
    where l.consumer = ?1
      and l.key = ?2
      and l.token = ?3
      and l.lease_until > ?4
)
