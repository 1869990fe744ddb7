-- Buckets need nothing here: a file of that many rows is beyond what SQLite's one writer is for, and
-- its deletes block nobody but that writer. The number is taken so that it means the same on both
-- databases.
select 1;
