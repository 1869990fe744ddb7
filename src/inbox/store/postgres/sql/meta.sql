select secret
from tower_inbox.meta
