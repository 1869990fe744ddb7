
-- ARGV[2]  the events. Answers 1 where one was seen.
events = ARGV[2]
exact = 2
look_into_all_but(nil)
local flags, at = {}, 0
for o = 0, #events - 1, @PLAIN do
  at = at + 1
  flags[at] = seen(o, @MEMBER) and '1' or '0'
end
return table.concat(flags)
