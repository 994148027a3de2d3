-- Counts in sliding windows, for what many verifications share: an address, a client. A subject's key is a string, with a part for each of its limits:
--   4 bytes  the window, in seconds     6 bytes  the number of the newest slice: a slice is a twelfth of the window     13 x 4 bytes  counts, newest first
-- The oldest slice counts in whole as long as any of it lies in the window: so no window ever sees more than its limit, and some a slice's worth fewer.
local SLICES = 12
local PART = 10 + 4 * (SLICES + 1)

local function open_part(stored, index, now, span)
  local at, slice = (index - 1) * PART, span / SLICES
  local part = {newest = math.floor(now / slice), slice = slice, total = 0}
  local shift = SLICES + 1
  if #stored >= at + PART and struct.unpack('>I4', stored, at + 1) == span / 1000 then
    local newest = struct.unpack('>I6', stored, at + 5)
    part.newest = math.max(part.newest, newest) -- a clock set back opens nothing
    shift = part.newest - newest
  end
  for n = 1, SLICES + 1 do
    part[n] = n > shift and struct.unpack('>I4', stored, at + 11 + (n - shift - 1) * 4) or 0
    part.total = part.total + part[n]
  end
  return part
end

local function part_text(part, span)
  local text = {struct.pack('>I4>I6', span / 1000, part.newest)}
  for n = 1, SLICES + 1 do text[#text + 1] = struct.pack('>I4', part[n]) end
  return table.concat(text)
end

-- How long until a part has room for so much: ms, 0 for now.
local function wait_for(part, amount, room, now)
  local left, kept = part.total, SLICES + 1
  while kept > 0 and left + amount > room do
    left, kept = left - part[kept], kept - 1
  end
  return kept > SLICES and 0 or math.ceil((part.newest + SLICES + 1 - kept) * part.slice - now)
end

-- A subject's counts, and how long until its limits let so much more through: ms, 0 for now.
local function open_window(key, limits, now, amount)
  local window, stored = {key = key, limits = limits, wait = 0, amount = amount}, redis.call('GET', key) or ''
  for index, limit in ipairs(limits) do
    local part = open_part(stored, index, now, limit[2])
    window[index] = part
    window.wait = math.max(window.wait, wait_for(part, amount, limit[1], now))
  end
  return window
end

-- Opens the windows of subjects {key, limits as text, name of the limit, amount or nil for 1}; without limits a subject is not looked at.
-- -> the windows, and {'limited', name, ms} of the one that stays closed longest, or nil
local function open_windows(now, subjects)
  local windows, denied = {}, nil
  for _, subject in ipairs(subjects) do
    if subject[2] ~= '' then
      local window = open_window(subject[1], pairs_of(subject[2]), now, subject[4] or 1)
      windows[#windows + 1] = window
      if window.wait > (denied and denied[3] or 0) then denied = {'limited', subject[3], window.wait} end
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
    for index in ipairs(window.limits) do window[index][1] = window[index][1] + window.amount end
    keep_window(window)
  end
end

-- Corrects what was counted at a time: in the slice of that time, if the window still holds it.
local function correct(windows, at, difference)
  for _, window in ipairs(windows) do
    for index in ipairs(window.limits) do
      local part = window[index]
      local place = part.newest - math.floor(at / part.slice) + 1
      if part[place] then part[place] = math.max(0, part[place] + difference) end
    end
    keep_window(window)
  end
end
