drop function tower_inbox.begin_together(int2, uuid[], boolean, float8);
drop function tower_inbox.tell_batch();
drop function tower_inbox.contend_batch(int2, uuid[], int8[], int4[], int4, int4, float8);
drop function tower_inbox.holders(int2, uuid[], int4[], float8);
