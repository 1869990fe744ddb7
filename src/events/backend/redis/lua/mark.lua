
-- ARGV[8]  1 where a duplicate prolongs the window; from 9 on: hash and member of each event.
-- Answers 1 where it was new, then the table and its bits.
if not begin((#ARGV - 8) / 2) then
  return redis.error_reply('TIWINDOWS there are ' .. ARGV[5] .. ' distinct windows already')
end
local sliding = ARGV[8] == '1'
local flags = {}
for i = 9, #ARGV, 2 do
  local hash, member, at = ARGV[i], ARGV[i + 1], #flags + 1
  local new
  if sliding then
    new = add(hash, member, at)
    new = not seen(hash, member, current) and new
  else
    new = not seen(hash, member, current) and add(hash, member, at)
  end
  flags[at] = new and '1' or '0'
end
return finish(flags)
