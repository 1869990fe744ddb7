
-- ARGV[2]  the events   ARGV[3]  the lease in milliseconds
-- ARGV[4]  1 to look for leases that have run out, too
-- Answers c for claimed, s for seen, f for in flight.
events = ARGV[2]
exact = 4
look_into_all_but(nil)
local until_ms = string.format('%.0f', now + tonumber(ARGV[3]))
local fields, owned = held()
local taken, new, flags, at = {}, {}, {}, 0
for o = 0, #events - 1, @CLAIMED do
  at = at + 1
  local token, field = @TOKEN, fields[at]
  local flag = 'c'
  if seen(o, @MEMBER) then
    flag = 's'
  elseif (taken[field] or token) ~= token or theirs(owned[at], token) then
    flag = 'f'
  else
    taken[field] = token
    new[#new + 1] = field
    new[#new + 1] = token .. until_ms
  end
  flags[at] = flag
end
if not record[1] then
  redis.call('HSET', KEYS[1], 's', ARGV[1])
  -- Without tables nothing else would end it.
  redis.call('PEXPIRE', KEYS[1], 86400000)
end
if #new > 0 then
  redis.call('HSET', claims, unpack(new))
  -- Twice the longest lease: what nobody ends does not stay.
  redis.call('PEXPIRE', claims, 86400000)
end
if ARGV[4] == '1' then
  local cursor = redis.call('HGET', KEYS[1], 'p') or '0'
  local page = redis.call('HSCAN', claims, cursor, 'COUNT', 200)
  local over = {}
  for i = 1, #page[2], 2 do
    if tonumber(cut(page[2][i + 1], 17)) <= now and #over < 1000 then
      over[#over + 1] = page[2][i]
    end
  end
  if #over > 0 then
    redis.call('HDEL', claims, unpack(over))
  end
  redis.call('HSET', KEYS[1], 'p', page[1])
end
return table.concat(flags)
