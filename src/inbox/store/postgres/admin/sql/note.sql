insert into tower_inbox.audit (at, actor, action, consumer, key, detail)
values (to_timestamp(tower_inbox.now_s($6) + 1577836800), $1, $2, $3, $4, $5)
