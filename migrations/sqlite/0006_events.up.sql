-- Events need nothing here: a process that keeps its marks in a file of its own can keep them in memory,
-- and SQLite's one writer is not for streams of millions. The number is taken so that it means the same
-- on both databases.
select 1;
