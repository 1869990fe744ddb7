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

-- The events of the batch are one text, @PLAIN characters each, or @CLAIMED with a token: an argument for
-- each would cost about as much as a look. First come twenty bits of the hash.
local events
-- Behind which argument exact ids begin.
local exact

-- The tables to look into, the newest first, because duplicates come soon.
local older, older_bits = {}, {}
local function look_into_all_but(current)
  for i = live, 1, -1 do
    if i ~= current then
      older[#older + 1] = prefix[i]
      older_bits[#older_bits + 1] = bits[i]
    end
  end
end

-- Whether the event whose text is behind `o` is in one of them.
local function seen(o, member)
  local last, bucket
  for i = 1, #older do
    if older_bits[i] ~= last then
      last = older_bits[i]
      bucket = cut(events, o + 1, o + last)
    end
    if call('@LOOK', older[i] .. bucket, member) == 1 then
      return true
    end
  end
  return false
end
