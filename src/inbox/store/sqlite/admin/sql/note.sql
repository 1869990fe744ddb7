insert into tower_inbox_audit (at, actor, action, consumer, key, detail)
values (?6 + 1577836800, ?1, ?2, ?3, ?4, ?5)
