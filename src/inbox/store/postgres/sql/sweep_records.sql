delete from tower_inbox.record
where ctid = any (array(
    select r.ctid
    from tower_inbox.record r
    where r.ctid >= $1::text::tid
      and r.ctid < $2::text::tid
      and r.expires_at <= floor(tower_inbox.now_s($4)) - $3
    for update skip locked
))
