-- Begins a shard anew under the secret that the namespace has: its marks were signed with one that is lost.
--
-- KEYS[1]  the shard's record   ARGV[1]  the secret it has to have
if redis.call('HGET', KEYS[1], 's') ~= ARGV[1] then
  redis.call('UNLINK', KEYS[1], string.sub(KEYS[1], 1, -2) .. 'c')
end
return 1
