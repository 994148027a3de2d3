-- Corrects what was counted at a time, in windows (window.lua): in the slice of that time, if the part still holds it.
local function corrected(part, at, difference)
  local window, newest = struct.unpack('>I4I6', part)
  local behind = newest - slice_number(at, window)
  if behind < 0 or behind > SLICES then return part end
  if behind == 0 then return (added(part, difference)) end
  local slices = slices_of(part)
  slices[behind + 1] = math.max(0, math.min(slices[behind + 1] + difference, MOST))
  return with_slices(part, slices)
end

-- The money of a call that was asked for: of all, of the client's, of the country's: KEYS 4, 5, 6, whose caps are three of ARGV.
local function correct_money(first_cap, at, difference, now)
  local windows = {now = now, wait = 0}
  for n = 0, 2 do open_window(windows, KEYS[4 + n], ARGV[first_cap + n], 'spend', 0) end
  for _, window in ipairs(windows) do
    for index, part in ipairs(window) do window[index] = corrected(part, at, difference) end
    keep_window(window, false)
  end
end
