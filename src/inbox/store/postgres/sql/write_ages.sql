insert into tower_inbox.duplicate_age as d (consumer, bucket, seen)
select n.consumer, n.bucket, n.seen
from unnest($1::int2[], $2::int2[], $3::int8[]) n (consumer, bucket, seen)
order by n.consumer, n.bucket
on conflict (consumer, bucket) do update
set seen = d.seen + excluded.seen
