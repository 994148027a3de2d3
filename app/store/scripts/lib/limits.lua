-- How limits are told to a script: packed, 8 bytes each: 4 how many, 4 in how many seconds. A ladder: 4 bytes a step, in ms. Unpacked where
-- they are needed they cost 0.2 µs a limit, and no table; read from a text, 0.7.
local LIMIT, STEP = 8, 4

local function limit_at(limits, index)
  return struct.unpack('>I4I4', limits, (index - 1) * LIMIT + 1)
end

-- The last step repeats.
local function step_at(ladder, rung)
  return (struct.unpack('>I4', ladder, math.min(rung * STEP, #ladder) - STEP + 1))
end
