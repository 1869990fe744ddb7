select
    attname::text,
    format_type(atttypid, null),
    not attnotnull or atthasdef or attidentity <> ''
from pg_attribute
where attrelid = to_regclass($1)
  and attnum > 0
  and not attisdropped
order by attnum
