-- The calls to one phone: who may place the next one, and when. Works on the phone's hash (keys.py):
--   h  each counted call, oldest first: 6 bytes when it was reserved (unix ms), 3 bytes of the digest of the address that asked for it, blank for none
--   l  calls in the present series: the rung of the ladder; a series ends with an approval or an hour of silence
--   f  until when a call is being placed (unix ms); i  which one: REF:NUMBER, which no later call repeats
--   g  what guesses against it have cost (guesses.lua)
-- Limits and ladder are packed as in limits.lua. Limits are exact: every counted call keeps its own time. No one address takes more than half of a
-- limit, so that a single stranger can't use up a phone's calls; addresses whose three bytes agree count as one.
local QUIET = 3600000
local CALL = 9
local NOBODY = '   '

-- A call's name in the field i. A verification's key ends with its REF, of 16 characters (keys.py).
local function call_of(verification, number)
  return string.sub(verification, -16) .. ':' .. number
end

local function time_at(history, index)
  return (struct.unpack('>I6', history, (index - 1) * CALL + 1))
end

-- When an address, which may have so many calls in a window, may have another: 0 if it has fewer.
local function own_free(history, address, most, span)
  local own = 0
  for index = #history / CALL, 1, -1 do
    if string.sub(history, index * CALL - 2, index * CALL) == address then own = own + 1 end
    if own == most then return time_at(history, index) + span end
  end
  return 0
end

-- From when on the limits let an address place another call (0: now already), and which limit holds it back longest: its name, and which of them.
local function next_call(history, rung, now, ladder, limits, address)
  local made, at, held_by, which = #history / CALL, 0, 'resend_cooldown', 0
  if made > 0 and rung > 0 then
    local last = time_at(history, made)
    if now - last < QUIET then at = last + step_at(ladder, rung) end
  end
  for index = 1, #limits / LIMIT do
    local count, seconds = limit_at(limits, index)
    local own = math.max(1, math.floor(count / 2))
    if made >= count then
      local free = time_at(history, made - count + 1) + seconds * 1000
      if free > at then at, held_by, which = free, 'calls_per_phone', index end
    end
    if made >= own and address ~= NOBODY then
      local free = own_free(history, address, own, seconds * 1000)
      if free > at then at, held_by, which = free, 'calls_per_phone_and_ip', index end
    end
  end
  return at, held_by, which
end

-- The same, as how long from now: ms, 0 for now already. held: what the phone's record tells of 'h', 'l'.
local function wait_for_call(held, now, ladder, limits, address)
  local at = next_call(held[1] or '', tonumber(held[2] or 0), now, ladder, limits, address)
  return math.max(0, at - now)
end

-- Takes the right to place one call, or says why not: nil, or {'in_progress', ms} or {'limited', name, ms, which of its limits}.
-- blocking: ms until a call whose placing never reported back stops blocking the next one.
-- held: what the phone's record tells of 'h', 'l', 'f', 'g'.
local function reserve_call(phone, held, call, now, ladder, limits, address, blocking)
  local history, rung, busy_until = held[1] or '', tonumber(held[2] or 0), tonumber(held[3] or 0)
  if busy_until > now then return {'in_progress', busy_until - now} end
  local at, held_by, which = next_call(history, rung, now, ladder, limits, address)
  if at > now then return {'limited', held_by, at - now, which} end

  local made = #history / CALL
  if made > 0 and now - time_at(history, made) >= QUIET then rung = 0 end
  local most, longest = 1, math.max(QUIET, blocking + step_at(ladder, #ladder / STEP))
  for index = 1, #limits / LIMIT do
    local count, seconds = limit_at(limits, index)
    most, longest = math.max(most, count), math.max(longest, seconds * 1000)
  end
  -- The calls that no limit counts any more are left out.
  history = string.sub(history .. struct.pack('>I6', now) .. address, -CALL * most)
  redis.call('HSET', phone, 'h', history, 'l', rung + 1, 'f', now + blocking, 'i', call)
  if held[1] or held[4] then
    live_on(phone, longest) -- What guesses have cost may have to be remembered for longer.
  else
    redis.call('PEXPIRE', phone, longest)
  end
  return nil
end

-- The call's placing has reported back: the next one need not wait for it. Another call's mark is left alone. placing: what the record tells of 'i'.
local function report_back(phone, placing, call)
  if placing ~= call then return false end
  redis.call('HDEL', phone, 'f', 'i')
  return true
end

-- Gives a reserved call back, as if it had never been asked for: its time leaves the history, and the ladder steps down.
local function give_back(phone, at)
  local held = redis.call('HMGET', phone, 'h', 'l')
  if not held[1] then return end
  local kept = {}
  for index = 1, #held[1] / CALL do
    if time_at(held[1], index) ~= at then kept[#kept + 1] = string.sub(held[1], (index - 1) * CALL + 1, index * CALL) end
  end
  redis.call('HSET', phone, 'h', table.concat(kept), 'l', math.max(0, tonumber(held[2] or 0) - 1))
end
