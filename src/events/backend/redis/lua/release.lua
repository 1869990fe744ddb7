
-- ARGV[2]  the events. Answers 1 where a claim was given up.
events = ARGV[2]
exact = 2
local fields, owned = held()
local done, ended, flags, at = {}, {}, {}, 0
for o = 0, #events - 1, @CLAIMED do
  at = at + 1
  local field = fields[at]
  local ours = owned[at] and not ended[field] and cut(owned[at], 1, 16) == @TOKEN
  if ours then
    done[#done + 1] = field
    ended[field] = true
  end
  flags[at] = ours and '1' or '0'
end
if #done > 0 then
  redis.call('HDEL', claims, unpack(done))
end
return table.concat(flags)
