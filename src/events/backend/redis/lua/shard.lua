-- What every script begins with: a shard's tables, read by the server's own clock.
--
-- KEYS[1]  the shard's record, a hash that ends in ":m"; every other key is derived from it
-- ARGV[1]  which secret signed the ids
--
-- The record holds `s`, the secret it was begun with, `t`, the tables, and a counter for each table.
-- A table is `id:bits:window:ends:full;` with times in milliseconds: events go to it until it ends or is
-- full, and it is forgotten a window after it ends. Window 0 has no end. It has 2^bits buckets, and an
-- event's is named by the first bits of its hash, which comes as a text of zeros and ones: cutting a text
-- is several times cheaper here than calculating a number and writing it.
local base = string.sub(KEYS[1], 1, -2)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 's', 't')
if record[1] and record[1] ~= ARGV[1] then
  return redis.error_reply('TISECRET the marks are signed with another secret')
end

local live = 0
local ids, bits, windows, ends, full, prefix = {}, {}, {}, {}, {}, {}
local gone = {}
if record[1] and record[2] then
  for id, n, window, finish, filled in
    string.gmatch(record[2], '(%d+):(%d+):(%d+):(%d+):(%d);')
  do
    n, window, finish = tonumber(n), tonumber(window), tonumber(finish)
    if window == 0 or finish + window > now then
      live = live + 1
      ids[live], bits[live], windows[live] = id, n, window
      ends[live], full[live] = finish, filled
      prefix[live] = base .. id .. ':'
    else
      gone[#gone + 1] = 'c' .. id
    end
  end
end

local floor, call, cut = math.floor, redis.call, string.sub

-- Whether an event is in a table, `except` one. The newest first: duplicates come soon.
local function seen(hash, member, except)
  local last, bucket
  for i = live, 1, -1 do
    if i ~= except then
      if bits[i] ~= last then
        last = bits[i]
        bucket = cut(hash, 1, last)
      end
      if call('@LOOK', prefix[i] .. bucket, member) == 1 then
        return true
      end
    end
  end
  return false
end
