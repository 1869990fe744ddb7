insert into tower_inbox.event_namespace (name, exact)
values ($1, $2)
on conflict do nothing
