insert into tower_inbox_consumer (name, key_probe, window_s)
values (?1, ?2, ?3)
on conflict (name) do nothing
