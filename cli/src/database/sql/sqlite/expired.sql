select count(*)
from tower_inbox_inbox
where expires_at <= unixepoch() - 1577836800
