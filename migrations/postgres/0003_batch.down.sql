drop function tower_inbox.tell_batch();
drop function tower_inbox.contend_batch(int2, uuid[], int8[], int4[], int4, int4, float8);
drop function tower_inbox.holders(int2, uuid[], int4[], float8);
