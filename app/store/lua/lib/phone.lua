-- The record of one phone: who may place its next call, and when. A hash:
--   call:AT        LANE:ADDRESS of each call that a limit counts, by when it was reserved (unix ms); ADDRESS is a digest, empty for none;
--                  `:converted` behind it once the verification was approved
--   step           calls in the present series of resend cooldowns, trusted_step those of the trusted lane; a series ends with an approval or a quiet hour
--   busy_until     until when a call is being placed (unix ms); placing is that call's name
--   hold:REF       guesses that a live verification may still make (guesses.lua)
-- Limits are exact: every counted call keeps its own time.
local function read_phone(key)
  local phone = {key = key, calls = {}, holds = {}, step = 0, trusted_step = 0, busy_until = 0}
  for field, value in pairs(read_hash(key)) do
    local at, ref = string.match(field, '^call:(%d+)$'), string.match(field, '^hold:(.+)$')
    if at then
      local lane, address, converted = string.match(value, '^(%a+):([^:]*):?(%a*)$')
      table.insert(phone.calls, {at = tonumber(at), lane = lane, address = address, converted = converted ~= ''})
    elseif ref then
      phone.holds[ref] = cjson.decode(value)
    else
      phone[field] = tonumber(value) or value
    end
  end
  table.sort(phone.calls, function(a, b) return a.at < b.at end)
  return phone
end

-- When fewer than `max` of the calls that `matches` picks lie in the window: unix ms, 0 for now already.
local function free_at(phone, max, window, matches)
  if max <= 0 then return now + window * 1000 end
  local found = 0
  for index = #phone.calls, 1, -1 do
    if matches(phone.calls[index]) then found = found + 1 end
    if found == max then return phone.calls[index].at + window * 1000 end
  end
  return 0
end

-- When the resend cooldown ends (unix ms). Strangers' calls must not make it longer for the trusted lane: from their last one on it waits for the first
-- step, since a phone can't take two calls at once. The public lane's cooldown grows with all calls.
local function cooldown_end(phone, lane)
  local function after(step, call)
    if not call or step == 0 or now - call.at >= policy.quiet then return 0 end
    return call.at + policy.cooldowns[math.min(step, #policy.cooldowns)]
  end
  local last = phone.calls[#phone.calls]
  if lane == 'public' then return after(phone.step, last) end
  local own
  for _, call in ipairs(phone.calls) do
    if call.lane == lane then own = call end
  end
  return math.max(after(math.min(phone.step, 1), last), after(phone.trusted_step, own))
end

-- From when on the limits allow another call (unix ms, 0 for now already), and which limit is the last to allow it: its name and place. The public
-- lane has its share of each limit. One address has half of what its lane allows, and at least a call and its resend.
local function next_call(phone, lane, address)
  local at, limit, place = cooldown_end(phone, lane), 'resend_cooldown', nil
  local function holds_back(free, name, index)
    if free > math.max(at, now) then at, limit, place = free, name, index end
  end
  for index, rate in ipairs(policy.calls_per_phone.trusted) do
    holds_back(free_at(phone, rate.max, rate.window, function() return true end), 'calls_per_phone', index - 1)
    local own = policy.calls_per_phone[lane][index]
    if lane == 'public' then
      holds_back(free_at(phone, own.max, rate.window, function(call) return call.lane == lane end), 'calls_per_phone', index - 1)
    end
    if address ~= '' then
      local function same(call) return call.lane == lane and call.address == address end
      holds_back(free_at(phone, own.per_address, rate.window, same), 'calls_per_phone_and_ip', index - 1)
    end
  end
  return at, limit, place
end

local function wait_for_call(phone, lane, address)
  local at, limit, place = next_call(phone, lane, address)
  return math.max(0, at - now), limit, place
end

-- The same for the state that callers see. A limit that another's calls have reached shows a stranger when these were: only roughly.
local function shown_wait(phone, lane, address)
  local wait, limit = wait_for_call(phone, lane, address)
  if lane == 'public' and limit ~= 'resend_cooldown' then return math.ceil(wait / policy.blur) * policy.blur end
  return wait
end

-- Why the phone can't be called now: a reply, or nil.
local function phone_denies(phone, lane, address)
  if phone.busy_until > now then return reply('in_progress', {wait = phone.busy_until - now}) end
  local wait, limit, place = wait_for_call(phone, lane, address)
  if wait > 0 then return reply('limited', {limit = limit, place = place, wait = wait}) end
  return nil
end

local function set_steps(phone, step, trusted_step)
  phone.step, phone.trusted_step = math.max(0, step), math.max(0, trusted_step)
  redis.call('HSET', phone.key, 'step', phone.step, 'trusted_step', phone.trusted_step)
end

-- Takes the right to place one call, and drops what no limit counts any more.
local function reserve_call(phone, call, lane, address)
  for _, earlier in ipairs(phone.calls) do
    if earlier.at + policy.phone_memory <= now then redis.call('HDEL', phone.key, 'call:' .. earlier.at) end
  end
  for ref, hold in pairs(phone.holds) do
    if hold.ends_at <= now then redis.call('HDEL', phone.key, 'hold:' .. ref) end
  end
  local last = phone.calls[#phone.calls]
  local continues = last and now - last.at < policy.quiet
  redis.call('HSET', phone.key, 'call:' .. now, lane .. ':' .. address, 'busy_until', now + policy.call_deadline, 'placing', call)
  set_steps(phone, (continues and phone.step or 0) + 1, (continues and phone.trusted_step or 0) + (lane == 'trusted' and 1 or 0))
  redis.call('PEXPIRE', phone.key, policy.phone_memory + policy.call_deadline)
end

-- The placing of a call reported back: the next one need not wait for it. Whether it was this call's mark.
local function report_back(phone, call)
  if phone.placing ~= call then return false end
  redis.call('HDEL', phone.key, 'busy_until', 'placing')
  return true
end

-- Gives a reserved call back, as if it had never been requested.
local function give_call_back(phone, at)
  if redis.call('HDEL', phone.key, 'call:' .. at) == 0 then return end
  for index, call in ipairs(phone.calls) do
    if call.at == at then
      table.remove(phone.calls, index)
      set_steps(phone, phone.step - 1, phone.trusted_step - (call.lane == 'trusted' and 1 or 0))
      break
    end
  end
end

-- Calls of the public lane that did not lead to an approval, in the last day.
local function unconverted_calls(phone)
  local count_of = 0
  for _, call in ipairs(phone.calls) do
    if call.lane == 'public' and not call.converted and now - call.at < 86400000 then count_of = count_of + 1 end
  end
  return count_of
end
