delete from tower_inbox_record
where (consumer, key) > (?1, ?2)
  and (consumer, key) <= (?3, ?4)
  and expires_at <= ?5
