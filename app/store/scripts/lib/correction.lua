-- Corrects what was counted at a time, in windows (window.lua).
local function with_slices(part, slices)
  local kept, total = {}, 0
  for n, held in ipairs(slices) do
    if held > 0 or n == 1 then kept[#kept + 1], total = struct.pack('>BI4', n - 1, held), total + held end
  end
  return string.sub(part, 1, 10) .. struct.pack('>BI5', #kept, total) .. table.concat(kept)
end

-- The part that begins at a byte of what is stored, as it stands now, with a difference in the slice of a time, if it still holds that.
-- -> the part, and where the next one begins
local function corrected(stored, first, window, now, at, difference)
  local part, _, _, next_at = counted(stored, first, window, now, 0)
  local _, newest = struct.unpack('>I4I6', part)
  local behind = newest - slice_number(at, window)
  if behind == 0 then return counted(part, 1, window, now, difference), next_at end
  if behind < 0 or behind > SLICES then return part, next_at end
  local slices = slices_of(part)
  slices[behind + 1] = math.max(0, math.min(slices[behind + 1] + difference, MOST))
  return with_slices(part, slices), next_at
end

local function correct_window(key, limits, now, at, difference)
  local stored, first, text, longest = redis.call('GET', key) or '', 1, '', 0
  for index = 1, #limits / LIMIT do
    local _, window = limit_at(limits, index)
    local part
    part, first = corrected(stored, first, window, now, at, difference)
    text, longest = text .. part, math.max(longest, window)
  end
  redis.call('SET', key, text, 'PX', life_of(longest))
end

-- The money of a call that was asked for: of all, of the client's, of the country's: KEYS 4, 5, 6, whose caps are three of ARGV.
local function correct_money(first_cap, now, at, difference)
  for n = 0, 2 do
    local caps = ARGV[first_cap + n]
    if caps ~= '' then correct_window(KEYS[4 + n], caps, now, at, difference) end
  end
end
