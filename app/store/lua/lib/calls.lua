-- Whether a phone may be called: by its own record, by the limits that it shares with others, and by what guesses at its codes may cost.
--
-- The record of a phone is a hash:
--   call:AT        LANE:ADDRESS of each call that a limit counts, by when it was reserved (unix ms); ADDRESS is a digest, empty for none;
--                  `:converted` behind it once the verification was approved
--   step           calls in the present series of resend cooldowns, trusted_step those of the trusted lane; a series ends with an approval or a quiet hour
--   busy_until     until when a call is being placed (unix ms); placing is that call's name
--   hold:REF       guesses that a live verification may still make (verification.lua)
-- Limits of a phone are exact: every counted call keeps its own time.
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

-- Milliseconds until the phone's limits allow another call, and which limit is the last to allow it: its name and place. The public lane has its share of
-- each limit. One address has half of what its lane allows, and at least a call and its resend.
local function wait_for_call(phone, lane, address)
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
  for index, call in ipairs(phone.calls) do
    if call.at == at then
      redis.call('HDEL', phone.key, 'call:' .. at)
      table.remove(phone.calls, index)
      return set_steps(phone, phone.step - 1, phone.trusted_step - (call.lane == 'trusted' and 1 or 0))
    end
  end
end

-- The limits that a call shares with others (app/store/keys.py). Each is
--   {name, place, key, window, max, public_max, by_lane, unit, quota}
-- key names the counter; place is its position among the limits of that name; unit 'money' counts the price, else calls. A limit with public_max is
-- shared by the two lanes: the public lane may use that much of it, the trusted lane what is left. One by_lane allows each lane max. Without max it only
-- counts.

-- What a lane may use: of the names in a counter that count together, so much.
local function bounds_of(limit, lane)
  local bounds = {}
  if limit.max then table.insert(bounds, {max = limit.max, names = limit.by_lane and {lane} or {'public', 'trusted'}}) end
  if limit.public_max and lane == 'public' then table.insert(bounds, {max = limit.public_max, names = {'public'}}) end
  return bounds
end

local function wait_for_room(limit, counter, lane, amount)
  local wait = 0
  for _, bound in ipairs(bounds_of(limit, lane)) do
    wait = math.max(wait, wait_for(counter, bound.max - amount, unpack(bound.names)))
  end
  return wait
end

-- A call reserves the expected price, or the price that was lately seen if that is higher.
local function open_limits(limits, lane)
  local opened = {lane = lane}
  if not request.test then
    local seen = redis.call('GET', keys.price)
    opened.price, opened.price_unknown = math.max(policy.expected_price, tonumber(seen or 0)), not seen
  end
  for _, limit in ipairs(limits) do
    limit.counter, limit.amount = read_counter(keys[limit.key], limit.window), limit.unit == 'money' and opened.price or 1
    table.insert(opened, limit)
  end
  return opened
end

-- A call that was reserved while no price was seen may cost ten times what is expected; once one was seen, that much. Whether the next call must wait
-- until such calls show their price: calls that are placed at once must not exceed a cap, whatever they cost. One call alone need not wait.
local function price_is_pending(opened)
  local under_way = opened.price and redis.call('HLEN', keys.pricing) or 0
  if under_way == 0 then return false end
  local worst = opened.price_unknown and policy.unknown_price or opened.price
  local risk = worst + under_way * (worst - policy.expected_price)
  for _, limit in ipairs(opened) do
    if limit.unit == 'money' and wait_for_room(limit, limit.counter, opened.lane, risk) > 0 then return true end
  end
  return false
end

-- The reply to a call that a limit denies, by the limit that denies it for the longest time; nil if all allow it.
local function limits_deny(opened)
  local longest, denied = 0, nil
  for _, limit in ipairs(opened) do
    local wait = wait_for_room(limit, limit.counter, opened.lane, limit.amount)
    if wait > longest then longest, denied = wait, limit end
  end
  if not denied then return price_is_pending(opened) and reply('price_pending') or nil end
  local used = total_of(denied.counter, 'public', 'trusted')
  return reply('limited', {
    limit = denied.name, place = denied.place, wait = longest, window = denied.window, max = denied.max, used = used,
    by_share = used + denied.amount <= denied.max,
  })
end

-- call: its name while it is under way.
local function count_limits(opened, call)
  for _, limit in ipairs(opened) do count_in(limit.counter, opened.lane, limit.amount) end
  if opened.price_unknown then
    redis.call('HSET', keys.pricing, call, 'yes')
    redis.call('PEXPIRE', keys.pricing, policy.call_deadline)
  end
end

-- What the caller's own limits still allow, when the call is counted.
local function quotas_of(opened)
  local quotas = {}
  for _, limit in ipairs(opened) do
    local quota = nil
    for _, bound in ipairs(limit.quota and bounds_of(limit, opened.lane) or {}) do
      local used = total_of(limit.counter, unpack(bound.names))
      local left = math.max(0, bound.max - used)
      if not quota or left < quota.left then
        quota = {limit = limit.name, place = limit.place, left = left, reset = wait_for(limit.counter, used - 1, unpack(bound.names))}
      end
    end
    if quota then table.insert(quotas, quota) end
  end
  return quotas
end

-- Corrects what a call cost, in the counters of money that it was reserved in.
local function correct_money(limits, lane, at, difference)
  for _, limit in ipairs(limits) do
    if limit.unit == 'money' then correct(keys[limit.key], limit.window, lane, at, difference) end
  end
end

-- What guesses against one phone may cost, in millionths of a probability: the counter of what wrong codes have cost in 24 hours, and what is held for live
-- verifications. A call is placed only if all guesses at its code fit beside both. So a placed call's code can always be checked, whatever others guess, and
-- the sum over any 24 hours stays under the bound: a guess only turns what is held into what is counted.
local function read_guesses(phone, except)
  local counter = read_counter(keys.guesses, policy.guess_window)
  local used = {public = total_of(counter, 'public'), trusted = total_of(counter, 'trusted')}
  for ref, hold in pairs(phone.holds) do
    if hold.ends_at > now and ref ~= except then used[hold.lane] = used[hold.lane] + hold.units end
  end
  return {counter = counter, used = used}
end

-- Units that a lane may still use for codes of a length.
local function free_units(guesses, length, lane)
  local free = length.max - guesses.used.public - guesses.used.trusted
  return lane == 'public' and math.min(free, length.public_max - guesses.used.public) or free
end

-- The fewest digits, and at least so many, whose guesses fit: an entry of policy.code_lengths; nil if none does.
local function fitting_length(guesses, digits, attempts, lane)
  for _, length in ipairs(policy.code_lengths) do
    if length.digits >= digits and attempts * length.cost <= free_units(guesses, length, lane) then return length end
  end
end

-- How many guesses of that cost fit at codes of so many digits.
local function fitting_attempts(guesses, digits, cost, lane)
  for _, length in ipairs(policy.code_lengths) do
    if length.digits == digits then return math.floor(free_units(guesses, length, lane) / cost) end
  end
end

-- The reply to a call for which there is no room: at the earliest when what is counted lets the longest codes in again.
local function guesses_deny(guesses, lane)
  local length = policy.code_lengths[#policy.code_lengths]
  local wait = wait_for_room(length, guesses.counter, lane, policy.max_attempts * length.cost)
  return reply('limited', {limit = 'guess_budget', wait = math.max(wait, policy.max_lifetime)})
end
