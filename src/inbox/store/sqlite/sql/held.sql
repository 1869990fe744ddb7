select exists (
    select 1
    from tower_inbox_lease
    where consumer = ?1
      and key = ?2
      and token = ?3
      and lease_until > ?4
)
