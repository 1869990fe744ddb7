
-- ARGV  from 2 on: hash and member of each event. Answers 1 where it was seen.
local flags = {}
for i = 2, #ARGV, 2 do
  flags[#flags + 1] = seen(ARGV[i], ARGV[i + 1]) and '1' or '0'
end
return table.concat(flags)
