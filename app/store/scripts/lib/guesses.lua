-- What guesses against one phone have cost in 24 hours, in millionths of a probability: field g of the phone's hash (calls.lua), a part as in window.lua.
-- A verification keeps in its field q what its own guesses have cost.
local DAY = 86400000
local GUESSES_KEPT = DAY * (SLICES + 1) / SLICES

local function guesses_of(phone, now)
  return open_part(redis.call('HGET', phone, 'g') or '', 1, now, DAY)
end

local function keep_guesses(phone, guesses)
  redis.call('HSET', phone, 'g', part_text(guesses))
  if redis.call('PTTL', phone) < GUESSES_KEPT then redis.call('PEXPIRE', phone, GUESSES_KEPT) end
end

-- Takes back what a verification has cost. It lives for less than a slice, so its guesses lie in the two newest ones. Older ones go first: another
-- verification's guesses then count as younger than they are, never as older.
local function forgive(guesses, cost)
  for behind = 1, 0, -1 do cost = cost + change(guesses, behind, -cost) end
end
