
-- ARGV[2]  the window in milliseconds, 0 without an end   ARGV[3]  the slot
-- ARGV[4]  how many events a slot is expected to hold here
-- ARGV[5]  how many distinct windows there may be
-- ARGV[6]  the table that ARGV[7] is about
-- ARGV[7]  for each event, 1 where the caller knows that its bucket has an expiry
local window, slot = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Writes the list of tables, and lets the record live as long as the last of them.
local function save()
  local text, last = '', 0
  for i = 1, live do
    text = text .. ids[i] .. ':' .. string.format('%.0f', bits[i]) .. ':'
      .. string.format('%.0f', windows[i]) .. ':' .. string.format('%.0f', ends[i]) .. ':'
      .. full[i] .. ';'
    if windows[i] == 0 then
      last = nil
    elseif last then
      last = math.max(last, ends[i] + windows[i])
    end
  end
  redis.call('HSET', KEYS[1], 's', ARGV[1], 't', text)
  -- Who is not in the list any more is not found by the next one.
  if #gone > 0 then
    redis.call('HDEL', KEYS[1], unpack(gone))
    gone = {}
  end
  if last then
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
  else
    redis.call('PERSIST', KEYS[1])
  end
end

-- The table that new events of the window go to.
local function open(events)
  local last
  local others, count = {}, 0
  for i = live, 1, -1 do
    if windows[i] == window then
      last = last or i
    elseif not others[windows[i]] then
      others[windows[i]] = true
      count = count + 1
    end
  end
  -- No slot is longer than its window; one that ends later was begun when the clock was ahead.
  local going = last and (window == 0 or now < ends[last] and ends[last] <= now + window)
  if going and full[last] == '0' then
    return last
  end
  if not last and count >= tonumber(ARGV[5]) then
    return nil
  end
  local n, finish = 1, 0
  if going then
    -- Fuller than it was made for: a larger one takes the rest of the slot.
    n, finish = 2 ^ (bits[last] + 2), ends[last]
  else
    if last then
      -- As many as the slot before needed, and a fifth more.
      local fields = {}
      for i = 1, live do
        if windows[i] == window and ends[i] == ends[last] then
          fields[#fields + 1] = 'c' .. ids[i]
        end
      end
      local sum = 0
      for _, held in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
        sum = sum + (tonumber(held or '0') or 0)
      end
      n = math.ceil(sum * 1.2 / @FILL)
    end
    if window > 0 then
      finish = (floor(now / slot) + 1) * slot
    end
  end
  n = math.max(n, math.ceil(tonumber(ARGV[4]) / @FILL), math.ceil(events / @FILL), 1)
  local needed = 0
  while 2 ^ needed < n and needed < @BITS do
    needed = needed + 1
  end
  -- In microseconds: one begun right after another was cleared must not have its name.
  local id = clock[1] * 1000000 + clock[2]
  for i = 1, live do
    id = math.max(id, tonumber(ids[i]) + 1)
  end
  live = live + 1
  ids[live], bits[live], windows[live] = string.format('%.0f', id), needed, window
  ends[live], full[live] = finish, '0'
  prefix[live] = base .. ids[live] .. ':'
  save()
  return live
end

local current, added, target, width, expiry

-- ARGV[7] is about another table where this is nil.
local known

local function begin(count)
  current, added = open(count), 0
  if not current then
    return false
  end
  target, width = prefix[current], bits[current]
  expiry = window > 0 and string.format('%.0f', ends[current] + window)
  known = ids[current] == ARGV[6] and ARGV[7] or ''
  return true
end

-- Adds the event behind `o`, which is the one `at` in the batch; whether it was not in the open table.
local function add(o, member, at)
  local key = target .. cut(events, o + 1, o + width)
  if call(@ADD) == 0 then
    return false
  end
  added = added + 1
  if expiry and string.byte(known, at) ~= 49 then
    call('PEXPIREAT', key, expiry)
  end
  return true
end

-- Counts what was added, and closes the table when it is full. Answers the flags, the table and its bits,
-- and whether there was none before.
local function finish(flags)
  if added > 0 then
    local held = redis.call('HINCRBY', KEYS[1], 'c' .. ids[current], added)
    if held >= 2 ^ bits[current] * @FILL and bits[current] < @BITS then
      full[current] = '1'
      save()
    end
  end
  return { table.concat(flags), ids[current], bits[current], record[2] and 0 or 1 }
end
