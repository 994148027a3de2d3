-- What guesses against one phone have cost in 24 hours, in millionths of a probability: field g of the phone's hash (calls.lua), a part as in window.lua.
-- A verification keeps in its field q what its own guesses have cost.
local DAY = 86400

-- Stores a part, with what a guess costs. The phone's record lives on for long enough when a slice's first guess is counted: so it does for all others
-- in that slice.
local function charge(phone, part, begun)
  redis.call('HSET', phone, 'g', part)
  if begun then live_on(phone, life_of(DAY)) end
end

-- Takes back what a verification has cost. It lives for less than a slice, so its guesses lie in the two newest ones. Older ones go first: another
-- verification's guesses then count as younger than they are, never as older. Where nothing is counted any more, nothing is written: no record is revived.
local function forgive(phone, stored, now, cost)
  local part, total = counted(stored, 1, DAY, now, 0)
  if total == 0 then return end
  local slices = slices_of(part)
  for n = 2, 1, -1 do
    local back = math.min(cost, slices[n])
    slices[n], cost = slices[n] - back, cost - back
  end
  redis.call('HSET', phone, 'g', with_slices(part, slices))
end
