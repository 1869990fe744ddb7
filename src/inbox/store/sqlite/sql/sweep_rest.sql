delete from tower_inbox_inbox
where (consumer, key) > (?1, ?2)
  and expires_at <= ?3
