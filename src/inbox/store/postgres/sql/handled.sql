select array(
    select h.held_by is not distinct from 'claim'
    from tower_inbox.holders(
        $1, $2, array(select generate_series(1, cardinality($2))), tower_inbox.now_s($3)
    ) h
    order by h.place
)
