-- Counts in sliding windows, for what many verifications share: an address, a client, all of them. A subject's key is a string, with a part for each of
-- its limits:
--   4 bytes  the window, in seconds     6 bytes  the number of the newest slice: a slice is a twelfth of the window     4 bytes  its count
--   1 byte  how many older slices follow, and only if there are any:
--     5 bytes  the count of all slices
--     for each older slice that counts anything, newest first:     1 byte  how far behind the newest, 1 to 12     4 bytes  its count
-- The oldest slice counts in whole as long as any of it lies in the window: so no window ever sees more than its limit, and some a slice's worth fewer.
-- Read, a part is a table: span and slice (ms), newest, count, total, and older: the older slices as they are stored. They are taken apart only when the
-- newest slice moves, or there may be no room: mostly a part is read and written with two numbers changed (docs/performance.md).
local SLICES = 12
local HEAD, TOTAL, SLICE = 15, 5, 5
-- Four and five bytes hold no more; a count that began anew would open what it closes.
local MOST, MOST_TOTAL = 4294967295, 1099511627775

-- Makes a part's newest slice an older one, so many behind, and forgets what the window does not see any more.
local function age(part, behind)
  local older, total = {}, 0
  local function keep(back, count)
    if count > 0 and back <= SLICES then
      older[#older + 1] = struct.pack('>BI4', back, math.min(count, MOST))
      total = total + count
    end
  end
  keep(behind, part.count)
  for at = 1, #part.older, SLICE do
    local back, count = struct.unpack('>BI4', part.older, at)
    keep(back + behind, count)
  end
  part.newest, part.count, part.total, part.older = part.newest + behind, 0, total, table.concat(older)
end

-- Reads the part that begins at a byte of what is stored. -> the part, and where the next one begins
local function open_part(stored, at, now, span)
  local slice = span / SLICES
  local current = math.floor(now / slice)
  if #stored < at + HEAD - 1 then return {span = span, slice = slice, newest = current, count = 0, total = 0, older = ''}, at end
  local window, newest, count, follow = struct.unpack('>I4I6I4B', stored, at)
  local total, older = count, ''
  at = at + HEAD
  if follow > 0 then
    total = struct.unpack('>I5', stored, at)
    older = string.sub(stored, at + TOTAL, at + TOTAL + follow * SLICE - 1)
    at = at + TOTAL + follow * SLICE
  end
  if window ~= span / 1000 then return {span = span, slice = slice, newest = current, count = 0, total = 0, older = ''}, at end
  local part = {span = span, slice = slice, newest = newest, count = count, total = total, older = older}
  if newest < current then age(part, current - newest) end -- a clock set back opens nothing
  return part, at
end

local function part_text(part)
  local older = part.older
  local head = struct.pack('>I4I6I4B', part.span / 1000, part.newest, math.min(part.count, MOST), #older / SLICE)
  return older == '' and head or head .. struct.pack('>I5', math.min(part.total, MOST_TOTAL)) .. older
end

local function add(part, amount)
  part.count, part.total = part.count + amount, part.total + amount
end

-- Changes what one slice counts, so many behind the newest, by a difference; none counts less than nothing. -> how much it changed
local function change(part, behind, difference)
  if behind < 0 or behind > SLICES then return 0 end
  local before = part.total
  if behind == 0 then
    local count = math.max(0, part.count + difference)
    part.count, part.total = count, part.total - part.count + count
  else
    local at = 1
    while at <= #part.older and string.byte(part.older, at) < behind do at = at + SLICE end
    local there, count = string.byte(part.older, at) == behind, 0
    if there then count = struct.unpack('>I4', part.older, at + 1) end
    local after = math.min(math.max(0, count + difference), MOST)
    part.older = string.sub(part.older, 1, at - 1) .. (after > 0 and struct.pack('>BI4', behind, after) or '')
      .. string.sub(part.older, there and at + SLICE or at)
    part.total = part.total - count + after
  end
  return part.total - before
end

-- When what the newest slices hold, so many of them, is all that still counts: ms from now.
local function until_kept(part, kept, now)
  return math.ceil((part.newest + SLICES + 1 - kept) * part.slice - now)
end

-- How long until a part has room for so much: ms, 0 for now.
local function wait_for(part, amount, room, now)
  local left = part.total
  if left + amount <= room then return 0 end
  for at = #part.older - SLICE + 1, 1, -SLICE do
    local behind, count = struct.unpack('>BI4', part.older, at)
    left = left - count
    if left + amount <= room then return until_kept(part, behind, now) end
  end
  return until_kept(part, 0, now)
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
  local text, longest = '', 0
  for index, limit in ipairs(window.limits) do
    text = text .. part_text(window[index])
    if limit[2] > longest then longest = limit[2] end
  end
  redis.call('SET', window.key, text, 'PX', math.ceil(longest * (SLICES + 1) / SLICES))
end

-- Counts the amount of each window.
local function count_in(windows)
  for _, window in ipairs(windows) do
    for index in ipairs(window.limits) do add(window[index], window.amount) end
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
      local oldest = string.byte(window[tightest].older, -SLICE) or 0
      for _, told in ipairs({window.name, tightest, left, until_kept(window[tightest], oldest, now)}) do reply[#reply + 1] = told end
    end
  end
  return reply
end

-- Corrects what was counted at a time: in the slice of that time, if the part still holds it.
local function correct_part(part, at, difference)
  change(part, part.newest - math.floor(at / part.slice), difference)
end

local function correct(windows, at, difference)
  for _, window in ipairs(windows) do
    for index in ipairs(window.limits) do correct_part(window[index], at, difference) end
    keep_window(window)
  end
end
