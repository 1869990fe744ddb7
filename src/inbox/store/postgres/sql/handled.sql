select array(
    select case when h.held_by = 'claim' then coalesce(h.age_s, -1) end
    from tower_inbox.holders(
        $1, $2, array(select generate_series(1, cardinality($2))), tower_inbox.now_s($3)
    ) h
    order by h.place
)
