-- Forgets a shard, a thousand sets in each call, so that nobody waits.
--
-- KEYS[1]  the shard's record
-- ARGV[1]  `begin` moves the record aside, so that what is marked from then on goes to new tables, and
--          answers 1, or 0 where there is none, or -1 where an earlier `clear` was not finished;
--          `go` removes a part and answers 1 while there is more
local base = string.sub(KEYS[1], 1, -2)
local aside = base .. 'x'
if ARGV[1] == 'begin' then
  if redis.call('EXISTS', aside) == 1 then
    return -1
  end
  redis.call('UNLINK', base .. 'c')
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
  end
  redis.call('RENAME', KEYS[1], aside)
  redis.call('PERSIST', aside)
  return 1
end
local tables = redis.call('HGET', aside, 't') or ''
local at = tonumber(redis.call('HGET', aside, 'x') or '0')
local room = 1000
local position = 0
for id, bits in string.gmatch(tables, '(%d+):(%d+):[^;]*;') do
  local n = 2 ^ bits
  if at < position + n and room > 0 then
    local first = math.max(at - position, 0)
    local last = math.min(n, first + room) - 1
    local keys = {}
    for bucket = first, last do
      local name, rest = '', bucket
      for _ = 1, bits do
        name = rest % 2 .. name
        rest = math.floor(rest / 2)
      end
      keys[#keys + 1] = base .. id .. ':' .. name
    end
    redis.call('UNLINK', unpack(keys))
    room = room - #keys
    at = position + last + 1
  end
  position = position + n
end
if at < position then
  redis.call('HSET', aside, 'x', string.format('%.0f', at))
  return 1
end
redis.call('UNLINK', aside)
return 0
