
-- ARGV[8]  the events. Answers 1 where one is confirmed and 0 where somebody else has it, then the table
-- and its bits.
events = ARGV[8]
exact = 8
local fields, owned = held()
if not begin(#fields) then
  return redis.error_reply('TIWINDOWS there are ' .. ARGV[5] .. ' distinct windows already')
end
-- `ended` are the claims that an earlier event of the batch has ended.
local done, ended, flags, at = {}, {}, {}, 0
for o = 0, #events - 1, @CLAIMED do
  at = at + 1
  local field = fields[at]
  if not ended[field] and theirs(owned[at], @TOKEN) then
    flags[at] = '0'
  else
    add(o, @MEMBER, at)
    if owned[at] and not ended[field] then
      done[#done + 1] = field
      ended[field] = true
    end
    flags[at] = '1'
  end
end
if #done > 0 then
  redis.call('HDEL', claims, unpack(done))
end
return finish(flags)
