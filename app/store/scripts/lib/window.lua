-- Counts in sliding windows, for what many verifications share: an address, a client, all of them. A subject's key is a string, with a part for each of
-- its limits:
--   4 bytes  the window, in seconds     6 bytes  the number of the newest slice: a slice is a twelfth of the window     1 byte  how many slices follow
--   5 bytes  what they count together
--   for each slice, newest first:     1 byte  how far behind the newest, 0 to 12     4 bytes  its count
-- The newest slice is always there, an older one if it counts anything. A part is such a string wherever it is handled: most are counted up in the slice
-- that is there already, which changes a few of its bytes and reads no other slice.
-- The oldest slice counts in whole as long as any of it lies in the window: so no window ever sees more than its limit, and some a slice's worth fewer.
local SLICES = 12
local HEAD, SLICE = 16, 5
local MOST = 4294967295 -- Four bytes hold no more; a count that began anew would open what it closes.

local function slice_number(at, window)
  return math.floor(at / (window * 1000 / SLICES))
end

local function new_part(window, newest)
  return struct.pack('>I4I6BI5BI4', window, newest, 1, 0, 0, 0)
end

-- A part whose newest slice is a later one: what no longer lies in the window is left out.
local function moved_part(part, window, by, newest)
  local kept, total = {}, 0
  for at = HEAD + 1, #part, SLICE do
    local behind, counted = struct.unpack('>BI4', part, at)
    if behind + by <= SLICES and counted > 0 then
      kept[#kept + 1], total = struct.pack('>BI4', behind + by, counted), total + counted
    end
  end
  return struct.pack('>I4I6BI5BI4', window, newest, #kept + 1, total, 0, 0) .. table.concat(kept)
end

-- The part that begins at a byte of what is stored, as it stands now. -> the part, and where the next one begins
local function open_part(stored, at, window, now)
  local present = slice_number(now, window)
  if #stored < at + HEAD - 1 then return new_part(window, present), at end
  local of_window, newest, count = struct.unpack('>I4I6B', stored, at)
  local next_at = at + HEAD + count * SLICE
  if of_window ~= window then return new_part(window, present), next_at end
  local part = string.sub(stored, at, next_at - 1)
  -- A clock set back opens nothing: the newest slice stays what it is.
  if newest < present then part = moved_part(part, window, present - newest, present) end
  return part, next_at
end

local function total_of(part)
  return (struct.unpack('>I5', part, 12))
end

-- -> the part with so much more in its newest slice, and whether that slice counted nothing before
local function added(part, amount)
  local window, newest, count, total, _, held = struct.unpack('>I4I6BI5BI4', part)
  local counted = math.max(0, math.min(held + amount, MOST))
  local first = struct.pack('>I4I6BI5BI4', window, newest, count, total - held + counted, 0, counted)
  return first .. string.sub(part, HEAD + SLICE + 1), held == 0
end

-- What each slice counts: 1 the newest, to 13.
local function slices_of(part)
  local slices = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for at = HEAD + 1, #part, SLICE do
    local behind, counted = struct.unpack('>BI4', part, at)
    slices[behind + 1] = counted
  end
  return slices
end

-- The part with other slices.
local function with_slices(part, slices)
  local kept, total = {}, 0
  for n, counted in ipairs(slices) do
    if counted > 0 or n == 1 then kept[#kept + 1], total = struct.pack('>BI4', n - 1, counted), total + counted end
  end
  return string.sub(part, 1, 10) .. struct.pack('>BI5', #kept, total) .. table.concat(kept)
end

-- When what the newest slices hold, so many of them, is all that still counts: ms from now.
local function until_kept(part, kept, now)
  local window, newest = struct.unpack('>I4I6', part)
  return math.ceil((newest + SLICES + 1 - kept) * (window * 1000 / SLICES) - now)
end

-- How long until a part has room for so much: ms, 0 for now.
local function wait_for(part, amount, room, now)
  local left, kept = total_of(part), SLICES + 1
  if left + amount <= room then return 0 end
  local slices = slices_of(part)
  while kept > 0 and left + amount > room do
    left, kept = left - slices[kept], kept - 1
  end
  return until_kept(part, kept, now)
end

-- How long what counts in a slice may have to be kept: ms. Whoever counts in one that is there already need not say it again.
local function life_of(window)
  return math.ceil(window * 1000 * (SLICES + 1) / SLICES)
end

-- Opens the windows of a subject, for so much more; without limits ('') it is not looked at. What the limits do not let through yet is told by
-- windows.denied: {'limited', name, ms, which of its limits}, of the subject that stays closed longest.
-- windows: a list, with the time as 'now' and 0 as 'wait'
local function open_window(windows, key, limits, name, amount)
  if limits == '' then return end
  local window, stored, at = {key = key, limits = limits, name = name, amount = amount}, redis.call('GET', key) or '', 1
  for index = 1, #limits / LIMIT do
    local most, seconds = limit_at(limits, index)
    local part
    part, at = open_part(stored, at, seconds, windows.now)
    local wait = wait_for(part, amount, most, windows.now)
    if wait > windows.wait then windows.wait, windows.denied = wait, {'limited', name, wait, index} end
    window[index] = part
  end
  windows[#windows + 1] = window
end

-- lasts: it lives long enough already.
local function keep_window(window, lasts)
  local text = table.concat(window)
  if lasts then return redis.call('SET', window.key, text, 'KEEPTTL') end
  local longest = 0
  for index = 1, #window do
    local _, seconds = limit_at(window.limits, index)
    longest = math.max(longest, seconds)
  end
  redis.call('SET', window.key, text, 'PX', life_of(longest))
end

-- Counts the amount of each window.
local function count_in(windows)
  for _, window in ipairs(windows) do
    local lasts = true
    for index, part in ipairs(window) do
      local begun
      window[index], begun = added(part, window.amount)
      if begun then lasts = false end
    end
    keep_window(window, lasts)
  end
end

-- What the named windows still have room for, appended to a reply: name, which limit is the tightest, how many more it lets through, and ms until that is more.
local function with_rooms(reply, windows, names)
  for _, window in ipairs(windows) do
    if names[window.name] then
      local tightest, left
      for index, part in ipairs(window) do
        local room = math.max(0, limit_at(window.limits, index) - total_of(part))
        if not left or room < left then tightest, left = index, room end
      end
      -- The oldest slice stands last, and is the next to go.
      local part, size = window[tightest], #reply
      local ms = until_kept(part, string.byte(part, -SLICE), windows.now)
      reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = window.name, tightest, left, ms
    end
  end
  return reply
end
