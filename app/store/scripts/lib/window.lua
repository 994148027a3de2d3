-- Counts in sliding windows, for what many verifications share: an address, a client, all of them. A subject's key is a string, with a part for each of
-- its limits:
--   4 bytes  the window, in seconds     6 bytes  the number of the newest slice: a slice is a twelfth of the window     1 byte  how many slices follow
--   for each slice that counts anything, newest first:     1 byte  how far behind the newest, 0 to 12     4 bytes  its count
-- The oldest slice counts in whole as long as any of it lies in the window: so no window ever sees more than its limit, and some a slice's worth fewer.
local SLICES = 12
local HEAD, SLICE = 11, 5

-- Reads the part that begins at a byte of what is stored. -> the part, and where the next one begins
local function open_part(stored, at, now, span)
  local slice = span / SLICES
  local part = {newest = math.floor(now / slice), slice = slice, total = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  if #stored < at + HEAD - 1 then return part, at end
  local window, newest, count = struct.unpack('>I4I6B', stored, at)
  at = at + HEAD
  if window == span / 1000 then
    part.newest = math.max(part.newest, newest) -- a clock set back opens nothing
    for index = 0, count - 1 do
      local behind, counted = struct.unpack('>BI4', stored, at + index * SLICE)
      local n = behind + part.newest - newest + 1
      if n <= SLICES + 1 then part[n], part.total = counted, part.total + counted end
    end
  end
  return part, at + count * SLICE
end

local function part_text(part, span)
  local slices = {}
  for n = 1, SLICES + 1 do
    -- Four bytes hold no more; a count that began anew would open what it closes.
    if part[n] > 0 then slices[#slices + 1] = struct.pack('>BI4', n - 1, math.min(part[n], 4294967295)) end
  end
  return struct.pack('>I4I6B', span / 1000, part.newest, #slices) .. table.concat(slices)
end

-- When what the newest slices hold, so many of them, is all that still counts: ms from now.
local function until_kept(part, kept, now)
  return math.ceil((part.newest + SLICES + 1 - kept) * part.slice - now)
end

-- How long until a part has room for so much: ms, 0 for now.
local function wait_for(part, amount, room, now)
  local left, kept = part.total, SLICES + 1
  while kept > 0 and left + amount > room do
    left, kept = left - part[kept], kept - 1
  end
  return kept > SLICES and 0 or until_kept(part, kept, now)
end

-- A subject's counts, and how long until its limits let so much more through: ms, 0 for now.
local function open_window(key, limits, now, amount)
  local window, stored = {key = key, limits = limits, wait = 0, held_by = 0, amount = amount}, redis.call('GET', key) or ''
  local at = 1
  for index, limit in ipairs(limits) do
    local part
    part, at = open_part(stored, at, now, limit[2])
    local wait = wait_for(part, amount, limit[1], now)
    window[index] = part
    if wait > window.wait then window.wait, window.held_by = wait, index end
  end
  return window
end

-- Opens the windows of subjects {key, limits as text, name of the limit, amount or nil for 1}; without limits a subject is not looked at.
-- -> the windows, and {'limited', name, ms, which of its limits} of the one that stays closed longest, or nil
local function open_windows(now, subjects)
  local windows, denied = {}, nil
  for _, subject in ipairs(subjects) do
    if subject[2] ~= '' then
      local window = open_window(subject[1], pairs_of(subject[2]), now, subject[4] or 1)
      window.name = subject[3]
      windows[#windows + 1] = window
      if window.wait > (denied and denied[3] or 0) then denied = {'limited', subject[3], window.wait, window.held_by} end
    end
  end
  return windows, denied
end

local function keep_window(window)
  local parts, longest = {}, 0
  for index, limit in ipairs(window.limits) do
    parts[#parts + 1] = part_text(window[index], limit[2])
    longest = math.max(longest, limit[2])
  end
  redis.call('SET', window.key, table.concat(parts), 'PX', math.ceil(longest * (SLICES + 1) / SLICES))
end

-- Counts the amount of each window.
local function count_in(windows)
  for _, window in ipairs(windows) do
    for index in ipairs(window.limits) do
      local part = window[index]
      part[1], part.total = part[1] + window.amount, part.total + window.amount
    end
    keep_window(window)
  end
end

-- What the named windows still have room for, appended to a reply: name, which limit is the tightest, how many more it lets through, and ms until that is more.
local function with_rooms(reply, windows, names, now)
  for _, window in ipairs(windows) do
    if names[window.name] then
      local tightest, left
      for index, limit in ipairs(window.limits) do
        local room = math.max(0, limit[1] - window[index].total)
        if not left or room < left then tightest, left = index, room end
      end
      local part, kept = window[tightest], SLICES + 1
      while kept > 1 and part[kept] == 0 do kept = kept - 1 end
      for _, told in ipairs({window.name, tightest, left, until_kept(part, kept - 1, now)}) do reply[#reply + 1] = told end
    end
  end
  return reply
end

-- Corrects what was counted at a time: in the slice of that time, if the part still holds it.
local function correct_part(part, at, difference)
  local place = part.newest - math.floor(at / part.slice) + 1
  if part[place] then part[place] = math.max(0, part[place] + difference) end
end

local function correct(windows, at, difference)
  for _, window in ipairs(windows) do
    for index in ipairs(window.limits) do correct_part(window[index], at, difference) end
    keep_window(window)
  end
end
