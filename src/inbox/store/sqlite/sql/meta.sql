select secret
from tower_inbox_meta
