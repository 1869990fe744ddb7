-- PostgreSQL's functions keep their plans from here on; SQLite has none. The number is taken so that it
-- means the same on both databases.
select 1;
