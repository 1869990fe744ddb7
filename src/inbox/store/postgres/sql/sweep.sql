with leader as materialized (
    select pg_try_advisory_xact_lock($1) as won
)
delete from tower_inbox.inbox
where (select won from leader)
  and ctid >= $2::text::tid
  and ctid < $3::text::tid
  and expires_at <= floor(tower_inbox.now_s($5)) - $4
