
-- ARGV[8]  the events   ARGV[9]  1 where a duplicate prolongs the window
-- Answers 1 where an event was new, then the table and its bits.
events = ARGV[8]
exact = 9
if not begin(#events / @PLAIN) then
  return redis.error_reply('TIWINDOWS there are ' .. ARGV[5] .. ' distinct windows already')
end
look_into_all_but(current)
local sliding = ARGV[9] == '1'
local flags, at = {}, 0
for o = 0, #events - 1, @PLAIN do
  at = at + 1
  local member = @MEMBER
  local new
  if sliding then
    new = add(o, member, at)
    new = not seen(o, member) and new
  else
    new = not seen(o, member) and add(o, member, at)
  end
  flags[at] = new and '1' or '0'
end
return finish(flags)
