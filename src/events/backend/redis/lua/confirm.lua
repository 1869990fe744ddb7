
-- From 8 on: hash, member and token of each event. Answers 1 where it is confirmed and 0 where somebody
-- else has it, then the table and its bits.
local fields, owned = held(8)
if not begin(#fields) then
  return redis.error_reply('TIWINDOWS there are ' .. ARGV[5] .. ' distinct windows already')
end
local done, flags = {}, {}
for at, field in ipairs(fields) do
  local i = 5 + at * 3
  if theirs(owned[at], ARGV[i + 2]) then
    flags[at] = '0'
  else
    add(ARGV[i], ARGV[i + 1], at)
    if owned[at] then
      done[#done + 1] = field
    end
    flags[at] = '1'
  end
end
if #done > 0 then
  redis.call('HDEL', claims, unpack(done))
end
return finish(flags)
