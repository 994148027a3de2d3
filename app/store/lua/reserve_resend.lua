-- uses: counters limits phone guesses guard idempotency verification challenge
-- Reserves another call for a pending verification, or for one whose only call no one knows the outcome of.
-- Atomic, because a verification may end, and its phone be called, at any moment.
-- keys     as in reserve.lua, without solution
-- request  as in reserve.lua, without purpose, challenge and code_length; the lane is the verification's
-- reply    reserved {number, at, price, code_length, quotas} | not_found | ended {status} | and what denies a call, as in reserve.lua
local phone, verification = read_phone(keys.phone), read_verification()
request.lane = verification.lane or request.lane
local seen = recall(function() return shown_wait(phone, request.lane, request.address) end)
if seen then return seen end
local status = status_of(verification)
if not status then return reply('not_found') end
if status ~= 'pending' and not can_be_called_again(verification) then return reply('ended', {status = status}) end
if policy.codes_predictable and not request.test then return reply('codes_predictable') end

local limits = open_limits(request.limits, request.lane)
if not request.test then reserve_price(limits) end
local guards = open_guards(request.lane)
local denied = limits_deny(limits) or guards_deny(guards) or not request.test and phone_denies(phone, request.lane, request.address)
if denied then return denied end

local number, wrong = tonumber(verification.calls) + 1, tonumber(verification.wrong or 0)
local code_length, cost = tonumber(verification.code_length), tonumber(verification.guess_cost)
local attempts = tonumber(verification.max_attempts)
local expires_at = math.min(now + policy.ttl, tonumber(verification.created_at) + policy.max_lifetime)
if not request.test then
  -- Two codes will count, unless there is none yet, so each guess costs twice. If there is not room for all guesses, there are fewer; for none, there is no call.
  local guesses, codes = read_guesses(phone, request.ref), verification.code and 2 or 1
  local free = free_units(guesses, length_of(code_length), request.lane)
  attempts = math.min(attempts, wrong + math.floor(free / (codes * cost)))
  if attempts <= wrong then return guesses_deny(guesses, request.lane) end
  reserve_call(phone, call_name(number), request.lane, request.address)
  -- Until the call is settled, and if it never is, the attempts are not fewer.
  local units = math.max(open_guesses(verification), (attempts - wrong) * codes * cost)
  hold_guesses(keys.phone, request.ref, request.lane, units, expires_at + policy.call_deadline)
  drop_outdated(guesses.counter)
end

count_limits(limits, call_name(number))
count_placed(guards)
count_lane('placed')
claim()
-- The expiry moves now: the verification must not end while its call is being placed.
redis.call('HSET', keys.verification, 'calls', number, 'expires_at', expires_at, 'next_max_attempts', attempts,
  'call_' .. number, string.format('%d:%d:%s:%s', now, limits.price or 0, request.address, request.network))
redis.call('PEXPIRE', keys.verification, expires_at - now + policy.tombstone)
return reply('reserved', {number = number, at = now, price = limits.price or 0, code_length = code_length, quotas = quotas_of(limits)})
