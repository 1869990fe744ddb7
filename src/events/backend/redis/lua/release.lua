
-- From 2 on: hash, member and token of each event. Answers 1 where its claim was given up.
local fields, owned = held(2)
local done, flags = {}, {}
for at, field in ipairs(fields) do
  local ours = owned[at] and string.sub(owned[at], 1, 16) == ARGV[1 + at * 3]
  if ours then
    done[#done + 1] = field
  end
  flags[at] = ours and '1' or '0'
end
if #done > 0 then
  redis.call('HDEL', claims, unpack(done))
end
return table.concat(flags)
