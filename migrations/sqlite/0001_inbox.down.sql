drop table tower_inbox_lease;
drop table tower_inbox_inbox;
drop table tower_inbox_consumer;
drop table tower_inbox_meta;
