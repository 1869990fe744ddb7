select
    lower(name),
    lower(type),
    "notnull" = 0
        or dflt_value is not null
        or hidden in (2, 3)
        or (pk = 1 and lower(type) = 'integer')
from pragma_table_xinfo(?1)
where hidden <> 1
order by cid
