-- What every script begins with: a shard's tables, read by the server's own clock.
--
-- KEYS[1]  the shard's record, a hash that ends in ":m"; every other key is derived from it
-- ARGV[1]  which secret signed the ids
--
-- The record holds `s`, the secret it was begun with, `t`, the tables, and a counter for each table.
-- A table is `id:buckets:window:ends:full;` with times in milliseconds: events go to it until it ends or
-- is full, and it is forgotten a window after it ends. Window 0 has no end.
local base = string.sub(KEYS[1], 1, -2)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 's', 't')
if record[1] and record[1] ~= ARGV[1] then
  return redis.error_reply('TISECRET the marks are signed with another secret')
end

local live = 0
local ids, buckets, windows, ends, full, prefix, scale = {}, {}, {}, {}, {}, {}, {}
local gone = {}
if record[1] and record[2] then
  for id, n, window, finish, filled in
    string.gmatch(record[2], '(%d+):(%d+):(%d+):(%d+):(%d);')
  do
    n, window, finish = tonumber(n), tonumber(window), tonumber(finish)
    if window == 0 or finish + window > now then
      live = live + 1
      ids[live], buckets[live], windows[live] = id, n, window
      ends[live], full[live] = finish, filled
      prefix[live], scale[live] = base .. id .. ':', n / 4294967296
    else
      gone[#gone + 1] = 'c' .. id
    end
  end
end

local floor = math.floor

-- Whether an event is in a table, `except` one. The newest first: duplicates come soon.
local function seen(hash, member, except)
  for i = live, 1, -1 do
    if i ~= except
      and redis.call('@LOOK', prefix[i] .. floor(hash * scale[i]), member) == 1
    then
      return true
    end
  end
  return false
end
