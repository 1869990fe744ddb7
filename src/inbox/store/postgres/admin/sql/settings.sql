set transaction isolation level read committed;
set local lock_timeout = '1s'
