-- uses: counters limits phone guesses guard idempotency verification challenge
-- Reserves a phone's first call for a new verification, and writes the verification.
-- Atomic, because of many starts for one phone one may call, and of many copies of one request one.
-- keys     verification, phone, guesses, suspended, price, pricing; request with an idempotency key; country, range; lane, sprayed, solution where a challenge may
--          be required; and those that request.limits name
-- request  client, ref, seed, nonce, lane, address, network, code_length, limits, country, range, test; purpose, bodies, challenge, solved_level where there are any
-- reply    reserved {number, at, price, code_length, sampled: the phone had no other call today, quotas} | challenge_required {level} | codes_predictable | in_progress {wait} | limited {limit, wait, …}
--          | price_pending | suspended {scope, wait, just_now} | key_reused | key_in_use | replayed {seed, first}
local phone = read_phone(keys.phone)
local seen = recall(function() return shown_wait(phone, request.lane, request.address) end)
if seen then return seen end
if policy.codes_predictable and not request.test then return reply('codes_predictable') end

local level = required_level(phone)
if level and (not request.solved_level or request.solved_level < level or redis.call('EXISTS', keys.solution) == 1) then
  return reply('challenge_required', {level = level})
end

local limits = open_limits(request.limits, request.lane)
if not request.test then reserve_price(limits) end
local guards = open_guards(request.lane)
local denied = limits_deny(limits) or guards_deny(guards) or not request.test and phone_denies(phone, request.lane, request.address)
if denied then return denied end

local last = phone.calls[#phone.calls]
local sampled = not request.test and not (last and now - last.at < 86400000)
local code_length, cost = request.code_length, 0
if not request.test then
  local guesses = read_guesses(phone)
  local length = fitting_length(guesses, request.code_length, request.lane)
  if not length then return guesses_deny(guesses, request.lane) end
  code_length, cost = length.digits, length.cost
  reserve_call(phone, call_name(1), request.lane, request.address)
  hold_guesses(keys.phone, request.ref, request.lane, policy.max_attempts * cost, now + policy.max_lifetime)
  drop_outdated(guesses.counter)
end

if level then redis.call('SET', keys.solution, 'used', 'PX', policy.challenge_lifetime) end
count_limits(limits, call_name(1))
count_placed(guards)
count_lane('placed')
claim()
redis.call('HSET', keys.verification, 'client', request.client, 'lane', request.lane, 'status', 'placing', 'created_at', now, 'calls', 1,
  'code_length', code_length, 'guess_cost', cost, 'max_attempts', policy.max_attempts,
  'call_1', string.format('%d:%d:%s:%s', now, limits.price or 0, request.address, request.network))
if request.purpose then redis.call('HSET', keys.verification, 'purpose', request.purpose) end
redis.call('PEXPIRE', keys.verification, policy.call_deadline)
return reply('reserved', {number = 1, at = now, price = limits.price or 0, code_length = code_length, sampled = sampled, quotas = quotas_of(limits)})
