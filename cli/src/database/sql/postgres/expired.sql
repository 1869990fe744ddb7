select count(*)
from tower_inbox.inbox
where expires_at <= (select floor(tower_inbox.now_s(null))::int4)
