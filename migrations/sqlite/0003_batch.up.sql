-- Batches need nothing here: SQLite has no functions in its tables, and its one writer contends with
-- nobody. The number is taken so that it means the same on both databases.
select 1;
