-- uses: counters calls guard idempotency verification
-- Reserves a call: the first of a new verification, which it writes; or, as a resend, another one of a verification that is pending, or whose only call no
-- one knows the outcome of. Atomic, because of many starts for one phone one may call, of many copies of one request one, and a verification may end, and its
-- phone be called, at any moment.
-- keys     verification, phone, guesses, suspended, price, pricing; request with an idempotency key; country, range; lane, sprayed, solution where a challenge may
--          be required; network; and those that request.limits name
-- request  client, ref, seed, nonce, lane (of a start), address, network, limits, country, range, test; resend or code_length; purpose, bodies, challenge,
--          solved_level where there are any
-- reply    reserved {number, at, price, code_length, sampled: the phone had no other call today, quotas} | challenge_required {level} | codes_predictable | in_progress {wait} | limited {limit, wait, …}
--          | price_pending | suspended {scope, wait, just_now} | key_reused | key_in_use | replayed {seed, first} | not_found | ended {status}
local DAY = 86400000

-- Whether the public lane's calls lead to too few approvals, codes are sprayed, or half of the lane's money is used.
local function lane_is_abused()
  local calls = read_counter(keys.lane, HOUR)
  local placed, converted = total_of(calls, 'public_placed'), total_of(calls, 'public_converted')
  if placed >= policy.lane_floor and converted * 1000 < policy.min_conversion * placed then return true end
  if tonumber(redis.call('HGET', keys.sprayed, 'alert_until') or 0) > now then return true end
  for _, limit in ipairs(request.limits) do
    if limit.name == 'spend' and limit.public_max then
      local spent = read_counter(keys[limit.key], limit.window)
      if total_of(spent, 'public') * 2 >= limit.public_max then return true end
    end
  end
  return false
end

-- The work that is required: a level, which grows with each call to the same phone and from the same network that did not lead to an approval; nil for none.
-- It is required, too, once half of the calls that the lane may place to a phone in the longest of its limits led to no approval.
local function required_level(phone)
  if request.lane ~= 'public' or not request.challenge then return nil end
  local level, most = 0, 0
  for _, call in ipairs(phone.calls) do
    if call.lane == 'public' and not call.converted and now - call.at < DAY then level = level + 1 end
  end
  for _, rate in ipairs(policy.calls_per_phone.public) do most = math.max(most, rate.max) end
  if request.challenge ~= 'always' and level * 2 < most and not lane_is_abused() then return nil end
  if keys.network then level = level + total_of(read_counter(keys.network, HOUR), 'public') end
  return math.min(policy.max_level, level)
end

local phone, verification = read_phone(keys.phone), read_hash(keys.verification)
request.lane = verification.lane or request.lane
local seen = recall(phone)
if seen then return seen end
if request.resend then
  local status = status_of(verification)
  if not status then return reply('not_found') end
  if status ~= 'pending' and not can_be_called_again(verification) then return reply('ended', {status = status}) end
end
if policy.codes_predictable and not request.test then return reply('codes_predictable') end
local level = required_level(phone)
if level and (not request.solved_level or request.solved_level < level or redis.call('EXISTS', keys.solution) == 1) then
  return reply('challenge_required', {level = level})
end

local limits, guards = open_limits(request.limits, request.lane), open_guards(request.lane)
local denied = limits_deny(limits) or guards_deny(guards) or not request.test and phone_denies(phone, request.lane, request.address)
if denied then return denied end
-- Read before the first write, as all keys are: one of another type would stop the script half-way.
local lane_calls = keys.lane and read_counter(keys.lane, HOUR)

local number, last = tonumber(verification.calls or 0) + 1, phone.calls[#phone.calls]
local sampled = not request.resend and not request.test and not (last and now - last.at < DAY)
local code_length, cost = tonumber(verification.code_length) or request.code_length, tonumber(verification.guess_cost) or 0
local attempts = tonumber(verification.max_attempts) or policy.max_attempts
local expires_at = math.min(now + policy.ttl, (tonumber(verification.created_at) or now) + policy.max_lifetime)
if not request.test then
  local guesses, units, ends_at = read_guesses(phone, request.ref), 0, now + policy.max_lifetime
  if request.resend then
    -- Two codes will count, unless there is none yet, so each guess costs twice. If there is not room for all guesses, there are fewer; for none, there is
    -- no call. Until the call is settled, and if it never is, the attempts are not fewer.
    local wrong, both = tonumber(verification.wrong or 0), cost * (verification.code and 2 or 1)
    attempts = math.min(attempts, wrong + fitting_attempts(guesses, code_length, both, request.lane))
    if attempts > wrong then units, ends_at = math.max(open_guesses(verification), (attempts - wrong) * both), expires_at + policy.call_deadline end
  else
    local length = fitting_length(guesses, code_length, attempts, request.lane)
    if length then code_length, cost, units = length.digits, length.cost, attempts * length.cost end
  end
  if units == 0 then return guesses_deny(guesses, request.lane) end
  reserve_call(phone, call_name(number), request.lane, request.address)
  hold_guesses(keys.phone, request.ref, request.lane, units, ends_at)
  drop_outdated(guesses.counter)
end

if level then redis.call('SET', keys.solution, 'used', 'PX', policy.challenge_lifetime) end
count_limits(limits, call_name(number))
count_placed(guards)
if lane_calls then count_in(lane_calls, request.lane .. '_placed', 1) end
claim()
redis.call('HSET', keys.verification, 'calls', number, 'call_' .. number, string.format('%d:%d:%s:%s', now, limits.price or 0, request.address, request.network))
if request.resend then
  -- The expiry moves now: the verification must not end while its call is being placed.
  redis.call('HSET', keys.verification, 'expires_at', expires_at, 'next_max_attempts', attempts)
  redis.call('PEXPIRE', keys.verification, expires_at - now + policy.tombstone)
else
  redis.call('HSET', keys.verification, 'client', request.client, 'lane', request.lane, 'status', 'placing', 'created_at', now,
    'code_length', code_length, 'guess_cost', cost, 'max_attempts', attempts)
  if request.purpose then redis.call('HSET', keys.verification, 'purpose', request.purpose) end
  redis.call('PEXPIRE', keys.verification, policy.call_deadline)
end
return reply('reserved', {
  number = number, at = now, price = limits.price or 0, code_length = code_length, sampled = sampled, quotas = quotas_of(limits),
})
