
-- Claims are a hash for the shard: the event to the sixteen bytes of its token and the end of its lease.
local claims = base .. 'c'

-- The claims of the events from ARGV[first] on, each with hash, member and token.
local function held(first)
  local fields = {}
  for i = first, #ARGV, 3 do
    fields[#fields + 1] = ARGV[i] .. ':' .. ARGV[i + 1]
  end
  return fields, redis.call('HMGET', claims, unpack(fields))
end

-- Whether a claim is somebody's who does not have the token.
local function theirs(claim, token)
  return claim and string.sub(claim, 1, 16) ~= token and tonumber(string.sub(claim, 17)) > now
end
