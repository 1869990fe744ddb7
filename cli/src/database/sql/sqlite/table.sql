select type
from pragma_table_list
where schema = 'main'
  and name = ?1 collate nocase
