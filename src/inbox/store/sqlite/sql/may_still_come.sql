select exists (
    select 1
    from tower_inbox_attempt
    where consumer = ?1
      and key = ?2
      and started >= ?3
      and started > finished
      and last_at > ?4
      and last_at <= ?5 + 1
)
