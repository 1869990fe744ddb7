-- Responses, fingerprints, attempts, dead letters and the audit are lost.

-- A dead letter was not handled: with its letter goes its claim, and its next delivery is new.
delete from tower_inbox_inbox
where exists (
    select 1
    from tower_inbox_dead_letter d
    where d.consumer = tower_inbox_inbox.consumer
      and d.key = tower_inbox_inbox.key
      and d.claimed_until = tower_inbox_inbox.expires_at
      and d.requeued_at is null
);

drop table tower_inbox_audit;
drop table tower_inbox_duplicate_age;
drop table tower_inbox_dead_letter;
drop table tower_inbox_attempt;
drop table tower_inbox_record;
