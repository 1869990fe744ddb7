insert into tower_inbox_duplicate_age as d (consumer, bucket, seen)
values (?1, ?2, ?3)
on conflict (consumer, bucket) do update
set seen = d.seen + excluded.seen
