-- Counters of what happened in a sliding window. A counter is a hash with a field for each name and slice of time, `NAME:SLICE`; a window has
-- policy.slices slices. The oldest slice counts in whole as long as any of it lies in the window: no window ever holds more than its limit.
-- Other fields of the hash are the state of the library part that owns it.
local function slice_at(at, window)
  return math.floor(at * policy.slices / (window * 1000))
end

-- What the window counts now, by name: in total and by slice.
local function read_counter(key, window)
  local counter = {key = key, window = window, total = {}, slices = {}, outdated = {}, state = {}}
  local oldest = slice_at(now, window) - policy.slices
  for field, value in pairs(read_hash(key)) do
    local name, slice = string.match(field, '^([%a_]+):(%d+)$')
    if not name then
      counter.state[field] = value
    elseif tonumber(slice) < oldest then
      table.insert(counter.outdated, field)
    else
      counter.slices[name] = counter.slices[name] or {}
      counter.slices[name][tonumber(slice)] = tonumber(value)
      counter.total[name] = (counter.total[name] or 0) + tonumber(value)
    end
  end
  return counter
end

local function total_of(counter, ...)
  local total = 0
  for _, name in ipairs({...}) do total = total + (counter.total[name] or 0) end
  return total
end

-- Counts without a look at the rest. lifetime: ms that the key lives at least, beyond what the window needs.
local function count(key, window, name, amount, lifetime)
  redis.call('HINCRBY', key, name .. ':' .. slice_at(now, window), amount)
  redis.call('PEXPIRE', key, math.max(lifetime or 0, math.ceil(window * 1000 * (policy.slices + 1) / policy.slices)))
end

-- Removes the slices that the window has left behind.
local function drop_outdated(counter)
  if #counter.outdated > 0 then redis.call('HDEL', counter.key, unpack(counter.outdated)) end
end

-- Counts, and removes what counts no more.
local function count_in(counter, name, amount, lifetime)
  local slice = slice_at(now, counter.window)
  count(counter.key, counter.window, name, amount, lifetime)
  counter.slices[name] = counter.slices[name] or {}
  counter.slices[name][slice] = (counter.slices[name][slice] or 0) + amount
  counter.total[name] = (counter.total[name] or 0) + amount
  drop_outdated(counter)
end

-- Corrects what was counted at an earlier time, if it still counts.
local function correct(key, window, name, at, amount)
  local field = name .. ':' .. slice_at(at, window)
  if redis.call('HEXISTS', key, field) == 1 then redis.call('HINCRBY', key, field, amount) end
end

-- Milliseconds until what these names count together is `room` or less; 0 if it is now.
local function wait_for(counter, room, ...)
  local slices, left = {}, total_of(counter, ...)
  if left <= room then return 0 end
  if room < 0 then return counter.window * 1000 end
  for _, name in ipairs({...}) do
    for slice, amount in pairs(counter.slices[name] or {}) do table.insert(slices, {slice = slice, amount = amount}) end
  end
  table.sort(slices, function(a, b) return a.slice < b.slice end)
  local last = slice_at(now, counter.window) - policy.slices
  for _, each in ipairs(slices) do
    if left <= room then break end
    left, last = left - each.amount, each.slice
  end
  return math.max(1, math.ceil((last + policy.slices + 1) * counter.window * 1000 / policy.slices - now))
end
