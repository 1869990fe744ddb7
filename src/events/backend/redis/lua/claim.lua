
-- ARGV[2]  the lease in milliseconds   ARGV[3]  1 to look for leases that have run out, too
-- From 4 on: hash, member and token of each event. Answers c for claimed, s for seen, f for in flight.
local until_ms = string.format('%.0f', now + tonumber(ARGV[2]))
local fields, owned = held(4)
local taken, new, flags = {}, {}, {}
for at, field in ipairs(fields) do
  local i = 1 + at * 3
  local token = ARGV[i + 2]
  local flag = 'c'
  if seen(ARGV[i], ARGV[i + 1]) then
    flag = 's'
  elseif taken[field] or theirs(owned[at], token) then
    flag = 'f'
  else
    taken[field] = true
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
if ARGV[3] == '1' then
  local cursor = redis.call('HGET', KEYS[1], 'p') or '0'
  local page = redis.call('HSCAN', claims, cursor, 'COUNT', 200)
  local over = {}
  for i = 1, #page[2], 2 do
    if tonumber(string.sub(page[2][i + 1], 17)) <= now and #over < 1000 then
      over[#over + 1] = page[2][i]
    end
  end
  if #over > 0 then
    redis.call('HDEL', claims, unpack(over))
  end
  redis.call('HSET', KEYS[1], 'p', page[1])
end
return table.concat(flags)
