-- Responses, fingerprints, attempts, dead letters and the audit are lost.

drop table tower_inbox_audit;
drop table tower_inbox_duplicate_age;
drop table tower_inbox_dead_letter;
drop table tower_inbox_attempt;
drop table tower_inbox_record;
