-- The calls to one phone: who may place the next one, and when. Works on the phone's hash (keys.py):
--   h  when each counted call was reserved: 6 bytes a call, unix ms, oldest first
--   l  calls in the present series: the rung of the ladder; a series ends with an approval or an hour of silence
--   f  until when a call is being placed (unix ms); i  which one: REF:NUMBER, which no later call repeats
--   g  what guesses against it have cost (guesses.lua)
-- A limit is a pair {count, milliseconds}. Limits are exact: every counted call keeps its own time.
local QUIET = 3600000

local function time_at(history, index)
  return struct.unpack('>I6', history, (index - 1) * 6 + 1)
end

-- From when on the limits let another call through (0: now already), and which limit holds it back longest.
local function next_call(history, rung, now, ladder, limits)
  local made, at, held_by = #history / 6, 0, 'ladder'
  if made > 0 and rung > 0 then
    local last = time_at(history, made)
    if now - last < QUIET then at = last + ladder[math.min(rung, #ladder)] end
  end
  for _, limit in ipairs(limits) do
    local count, span = limit[1], limit[2]
    if made >= count then
      local free = time_at(history, made - count + 1) + span
      if free > at then at, held_by = free, 'starts_per_phone' end
    end
  end
  return at, held_by
end

-- The history with one more call, less the calls that no limit counts any more.
local function with_call(history, now, limits)
  local most = 1
  for _, limit in ipairs(limits) do most = math.max(most, limit[1]) end
  return string.sub(history .. struct.pack('>I6', now), -6 * most)
end

-- Takes the right to place one call, or says why not: nil, or {'in_progress', ms} or {'limited', which, ms}.
-- blocking: ms until a call whose placing never reported back stops blocking the next one.
-- inherited: {h, l, f, g} of the same phone under the previous pepper, for a phone that has no record yet.
local function reserve_call(phone, call, now, ladder, limits, blocking, inherited)
  local held = redis.call('HMGET', phone, 'h', 'l', 'f')
  local moved = inherited and redis.call('EXISTS', phone) == 0
  if moved then held = inherited end
  local history, rung, busy_until = held[1] or '', tonumber(held[2] or 0), tonumber(held[3] or 0)
  if busy_until > now then return {'in_progress', busy_until - now} end
  local at, held_by = next_call(history, rung, now, ladder, limits)
  if at > now then return {'limited', held_by, at - now} end

  local made = #history / 6
  if made > 0 and now - time_at(history, made) >= QUIET then rung = 0 end
  redis.call('HSET', phone, 'h', with_call(history, now, limits), 'l', rung + 1, 'f', now + blocking, 'i', call)
  if moved and held[4] then redis.call('HSET', phone, 'g', held[4]) end
  local longest = math.max(QUIET, blocking + ladder[#ladder])
  for _, limit in ipairs(limits) do longest = math.max(longest, limit[2]) end
  -- What guesses have cost may have to be remembered for longer.
  if redis.call('PTTL', phone) < longest then redis.call('PEXPIRE', phone, longest) end
  return nil
end

-- The call's placing has reported back: the next one need not wait for it. Another call's mark is left alone.
local function report_back(phone, call)
  if redis.call('HGET', phone, 'i') ~= call then return false end
  redis.call('HDEL', phone, 'f', 'i')
  return true
end

-- Gives a reserved call back, as if it had never been asked for: its time leaves the history, and the ladder steps down.
local function give_back(phone, at)
  local held = redis.call('HMGET', phone, 'h', 'l')
  if not held[1] then return end
  local kept = {}
  for index = 1, #held[1] / 6 do
    local time = time_at(held[1], index)
    if time ~= at then kept[#kept + 1] = struct.pack('>I6', time) end
  end
  redis.call('HSET', phone, 'h', table.concat(kept), 'l', math.max(0, tonumber(held[2] or 0) - 1))
end
