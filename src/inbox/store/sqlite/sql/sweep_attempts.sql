delete from tower_inbox_attempt
where last_at <= ?1
