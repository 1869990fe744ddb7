insert into {table} (inbox_key, message)
values ($1, $2::text::json)
