select r.fingerprint, r.response
from tower_inbox.record r
where r.consumer = $1
  and r.key = $2
  and r.expires_at = tower_inbox.bucket_ends($1, $2, tower_inbox.now_s($3))
