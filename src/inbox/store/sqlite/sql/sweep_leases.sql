delete from tower_inbox_lease
where lease_until <= ?1
