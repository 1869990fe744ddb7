-- Claims in buckets are lost.

drop function tower_inbox.bucket_sweep(tid, tid, int4, int8, float8);
drop function tower_inbox.bucket_empty(int4, int4, int8, float8);
drop function tower_inbox.bucket_over(int4, float8);
drop function tower_inbox.bucket_enter(int2, text, float8);
drop function tower_inbox.bucket_roll(int4, float8);
drop function tower_inbox.bucket_handled(int2, uuid[], float8);
drop function tower_inbox.bucket_claim_batch(int2, uuid[], int8[], int4, int4, boolean, float8);
drop function tower_inbox.bucket_ages(int2, uuid[], int4[], float8);
drop function tower_inbox.bucket_settle(text, int2, uuid, int8, int4, int8, boolean, float8);
drop function tower_inbox.bucket_lease(int2, uuid, int4, int8, text, boolean, float8);
drop function tower_inbox.bucket_claim(int2, uuid, int4, int8, int4, boolean, float8);
drop function tower_inbox.bucket_take_flat(int2, uuid, int4, float8);
drop function tower_inbox.bucket_wait(int2, uuid, int8, int4, float8);
drop function tower_inbox.bucket_overtake(int2, uuid[], int4);
drop function tower_inbox.bucket_refuse(int2, uuid, int4, float8);
drop function tower_inbox.bucket_ends(int2, uuid, float8);
drop function tower_inbox.bucket_claimed(int2, uuid, float8);
drop function tower_inbox.bucket_is_lease(int2, uuid, int4);
drop function tower_inbox.bucket_age(int2, int4, float8);
drop function tower_inbox.bucket_level();
drop view tower_inbox.bucket;
drop function tower_inbox.bucket_put_many(int2, uuid[], int4, int4[], int4[]);
drop function tower_inbox.bucket_put(int2, uuid, int4, int4[], int4[]);
drop function tower_inbox.bucket_look_many(int2, uuid[], int4[], int4[], int4);
drop function tower_inbox.bucket_look(int2, uuid, int4[], int4);
do $$
begin
    for n in 0..16 loop
        execute format('drop table tower_inbox.bucket_%s', n);
    end loop;
end $$;
alter table tower_inbox.consumer
    drop column store_since,
    drop column store;
alter table tower_inbox.meta drop column buckets_swept_at;
drop table tower_inbox.ring;
