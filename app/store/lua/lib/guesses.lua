-- What guesses against one phone may cost, in millionths of a probability. Two records add up:
--   the counter of what wrong codes have cost in 24 hours (counters.lua), by lane
--   the phone's field hold:REF, JSON {lane, units, ends_at}: what a live verification's guesses may still cost
-- A call is placed only if all guesses at its code fit beside what is counted and held. So a placed call's code can always be checked, whatever others
-- guess, and the sum over any 24 hours stays under the bound: a guess only turns what is held into what is counted.
local function read_guesses(phone, except)
  local guesses = {counter = read_counter(keys.guesses, policy.guess_window)}
  guesses.public = total_of(guesses.counter, 'public')
  guesses.all = total_of(guesses.counter, 'public', 'trusted')
  for ref, hold in pairs(phone.holds) do
    if hold.ends_at > now and ref ~= except then
      guesses.all = guesses.all + hold.units
      if hold.lane == 'public' then guesses.public = guesses.public + hold.units end
    end
  end
  return guesses
end

-- Units that a lane may still use for codes of a length.
local function free_units(guesses, length, lane)
  local free = length.room - guesses.all
  if lane == 'public' then free = math.min(free, length.public_room - guesses.public) end
  return free
end

-- The fewest digits, and at least so many, whose guesses fit: an entry of policy.code_lengths; nil if none does.
local function fitting_length(guesses, digits, lane)
  for _, length in ipairs(policy.code_lengths) do
    if length.digits >= digits and policy.max_attempts * length.cost <= free_units(guesses, length, lane) then return length end
  end
  return nil
end

local function length_of(digits)
  for _, length in ipairs(policy.code_lengths) do
    if length.digits == digits then return length end
  end
end

-- Holds what a call's code may cost, in place of what its verification held.
local function hold_guesses(phone_key, ref, lane, units, ends_at)
  redis.call('HSET', phone_key, 'hold:' .. ref, cjson.encode({lane = lane, units = units, ends_at = ends_at}))
end

-- Changes a hold that is still there: to so many units and another end, or by what a guess has spent.
local function change_hold(phone_key, ref, change)
  local held = redis.call('HGET', phone_key, 'hold:' .. ref)
  if not held then return end
  local hold = cjson.decode(held)
  local units = math.max(0, (change.units or hold.units) - (change.spent or 0))
  hold_guesses(phone_key, ref, hold.lane, units, change.ends_at or hold.ends_at)
end

-- The reply to a call for which there is no room: at the earliest when what is counted lets the longest codes in again.
local function guesses_deny(guesses, lane)
  local length = policy.code_lengths[#policy.code_lengths]
  local wait = 0
  for _, hold in ipairs({{names = {'public', 'trusted'}, room = length.room}, lane == 'public' and {names = {'public'}, room = length.public_room} or nil}) do
    wait = math.max(wait, wait_for(guesses.counter, hold.room - policy.max_attempts * length.cost, unpack(hold.names)))
  end
  return reply('limited', {limit = 'guess_budget', wait = math.max(wait, policy.max_lifetime)})
end
