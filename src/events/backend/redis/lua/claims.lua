
-- Claims are a hash for the shard: the event to the sixteen bytes of its token and the end of its lease.
local claims = base .. 'c'

-- The fields of the events, and their claims.
local function held()
  local fields, at = {}, 0
  for o = 0, #events - 1, @CLAIMED do
    at = at + 1
    fields[at] = @FIELD
  end
  return fields, redis.call('HMGET', claims, unpack(fields))
end

-- Whether a claim is somebody's who does not have the token.
local function theirs(claim, token)
  return claim and cut(claim, 1, 16) ~= token and tonumber(cut(claim, 17)) > now
end
