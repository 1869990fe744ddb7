drop function tower_inbox.settle(text, int2, uuid, int8, int4, float8);
drop function tower_inbox.lease(int2, uuid, int4, int8, text, float8);
drop function tower_inbox.contend(int2, uuid, int4, int8, int4, float8);
drop function tower_inbox.now_s(float8);
drop table tower_inbox.lease;
drop sequence tower_inbox.token;
drop table tower_inbox.inbox;
drop table tower_inbox.consumer;
drop table tower_inbox.meta;
