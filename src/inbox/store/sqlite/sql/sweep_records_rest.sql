delete from tower_inbox_record
where (consumer, key) > (?1, ?2)
  and expires_at <= ?3
