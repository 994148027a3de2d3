-- Counts in sliding windows, for what many verifications share: an address, a client, all of them. A subject's key is a string, with a part for each of
-- its limits:
--   4 bytes  the window, in seconds     6 bytes  the number of the newest slice: a slice is a twelfth of the window     1 byte  how many slices follow
--   5 bytes  what they count together
--   for each slice, newest first:     1 byte  how far behind the newest, 0 to 12     4 bytes  its count
-- The newest slice is always there, an older one if it counts anything. A part is such a string wherever it is handled: most are counted up in the slice
-- that is there already, which changes a few of its bytes and reads no other slice: 1 µs, however many there are, where 13 slices that are read and
-- written one by one take 10.
-- The oldest slice counts in whole as long as any of it lies in the window: so no window ever sees more than its limit, and some a slice's worth fewer.
local SLICES = 12
local HEAD, SLICE = 16, 5
local MOST = 4294967295 -- Four bytes hold no more; a count that began anew would open what it closes.

local function slice_number(at, window)
  return math.floor(at / (window * 1000 / SLICES))
end

-- The slices of a part that was counted in so many slices ago, as it moves on: what no longer lies in the window is left out.
-- -> the slices, how many, and what they count together
local function moved(part, by)
  local kept, total = {}, 0
  for at = HEAD + 1, #part, SLICE do
    local behind, held = struct.unpack('>BI4', part, at)
    if behind + by <= SLICES and held > 0 then kept[#kept + 1], total = struct.pack('>BI4', behind + by, held), total + held end
  end
  return table.concat(kept), #kept, total
end

-- The part that begins at a byte of what is stored, as it stands now, with so much more in its newest slice.
-- -> the part, its total before, whether its newest slice counted nothing before, and where the next part begins
local function counted(stored, at, window, now, amount)
  local newest, count, total, held, older, next_at = slice_number(now, window), 1, 0, 0, '', at
  if at < #stored then
    local of_window, stored_newest, stored_count, stored_total, _, stored_held = struct.unpack('>I4I6BI5BI4', stored, at)
    next_at = at + HEAD + stored_count * SLICE
    if of_window == window and stored_newest < newest then
      older, count, total = moved(string.sub(stored, at, next_at - 1), newest - stored_newest)
      count = count + 1
    elseif of_window == window then
      -- A clock set back opens nothing: the newest slice stays what it is.
      newest, count, total, held = stored_newest, stored_count, stored_total, stored_held
      older = string.sub(stored, at + HEAD + SLICE, next_at - 1)
    end
  end
  local counts = math.max(0, math.min(held + amount, MOST))
  local newer = struct.pack('>I4I6BI5BI4', window, newest, count, total - held + counts, 0, counts)
  return newer .. older, total, held == 0, next_at
end

-- What each slice counts: 1 the newest, to 13.
local function slices_of(part)
  local slices = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for at = HEAD + 1, #part, SLICE do
    local behind, held = struct.unpack('>BI4', part, at)
    slices[behind + 1] = held
  end
  return slices
end

-- When what the newest slices hold, so many of them, is all that still counts: ms from now.
local function until_kept(part, kept, now)
  local window, newest = struct.unpack('>I4I6', part)
  return math.ceil((newest + SLICES + 1 - kept) * (window * 1000 / SLICES) - now)
end

-- How long until a part in which more is counted than there is room for would have had it: ms; 0 if there is room.
local function wait_for(part, room, now)
  local left, kept = struct.unpack('>I5', part, 12), SLICES + 1
  if left <= room then return 0 end
  local slices = slices_of(part)
  while kept > 0 and left > room do
    left, kept = left - slices[kept], kept - 1
  end
  return until_kept(part, kept, now)
end

-- How long what counts in a slice may have to be kept: ms. Whoever counts in one that is there already need not say it again: on Redis 7.0 SET takes
-- 2.2 µs with PX, 0.7 with KEEPTTL.
local function life_of(window)
  return math.ceil(window * 1000 * (SLICES + 1) / SLICES)
end

-- Opens the windows of a subject and counts so much more in them; it is stored by keep_windows. Without limits ('') a subject is not looked at.
-- windows: a list, with the time as 'now' and 0 as 'wait'. What the limits do not let through yet is told by windows.denied:
-- {'limited', name, ms, which of its limits}, of the subject that stays closed longest.
local function open_window(windows, key, limits, name, amount)
  if limits == '' then return end
  local stored, at = redis.call('GET', key) or '', 1
  local text, longest, begun, tightest, left, tight_part = '', 0, false, 0, math.huge, nil
  for index = 1, #limits / LIMIT do
    local most, window = limit_at(limits, index)
    local part, total, new_slice
    part, total, new_slice, at = counted(stored, at, window, windows.now, amount)
    if total + amount > most then
      local wait = wait_for(part, most, windows.now)
      if wait > windows.wait then windows.wait, windows.denied = wait, {'limited', name, wait, index} end
    end
    local room = math.max(0, most - total)
    if room < left then tightest, left, tight_part = index, room, part end
    text, longest, begun = text .. part, math.max(longest, window), begun or new_slice
  end
  windows[#windows + 1] = {
    key = key, text = text, life = begun and life_of(longest), name = name, amount = amount, tightest = tightest, left = left, tight_part = tight_part,
  }
end

local function keep_windows(windows)
  for _, window in ipairs(windows) do
    if window.life then
      redis.call('SET', window.key, window.text, 'PX', window.life)
    else
      redis.call('SET', window.key, window.text, 'KEEPTTL')
    end
    window.left = window.left - window.amount
  end
end

-- What the named windows still have room for, appended to a reply: name, which limit is the tightest, how many more it lets through, and ms until that is more.
local function with_rooms(reply, windows, names)
  for _, window in ipairs(windows) do
    if names[window.name] then
      -- The oldest slice stands last, and is the next to go.
      local ms, size = until_kept(window.tight_part, string.byte(window.tight_part, -SLICE), windows.now), #reply
      reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = window.name, window.tightest, window.left, ms
    end
  end
  return reply
end
