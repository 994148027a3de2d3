#!lua flags=allow-oom
-- uses: counters calls idempotency verification
-- Stores the code of a placed call, and what the call cost. May be repeated: the second time changes nothing and replies the same.
-- Runs in a full store: the phone rings already. Atomic, because code, previous code and expiry change together under the checks beside it.
-- keys     verification, phone, price, pricing; request with an idempotency key; and those that request.limits name
-- request  client, ref, nonce, lane, address, number, at, reserved_price, price (what it cost), code (its digest), limits (of money); test
-- reply    settled {the state} | not_found | ended {status}
local phone, verification = read_phone(keys.phone), read_hash(keys.verification)
request.lane = verification.lane or request.lane
if report_back(phone, call_name(request.number)) and not request.test then
  if request.price ~= request.reserved_price then
    correct_money(request.limits, request.lane, request.at, request.price - request.reserved_price)
  end
  if request.price >= tonumber(redis.call('GET', keys.price) or 0) then redis.call('SET', keys.price, request.price, 'PX', policy.price_lifetime) end
  redis.call('HDEL', keys.pricing, call_name(request.number))
end

local outcome
local first = verification.status == 'placing' or can_be_called_again(verification)
local status = first and 'pending' or status_of(verification)
if verification.client ~= request.client then
  outcome = {outcome = 'not_found'}
elseif status ~= 'pending' then
  outcome = {outcome = 'ended', status = status}
else
  if tonumber(verification.settled or 0) < request.number then
    local expires_at = math.min(now + policy.ttl, tonumber(verification.created_at) + policy.max_lifetime)
    if verification.code then redis.call('HSET', keys.verification, 'previous_code', verification.code) end
    redis.call('HSET', keys.verification, 'status', 'pending', 'settled', request.number, 'code', request.code, 'expires_at', expires_at,
      'max_attempts', verification.next_max_attempts or verification.max_attempts)
    redis.call('HDEL', keys.verification, 'next_max_attempts', 'unknown')
    redis.call('PEXPIRE', keys.verification, expires_at - now + policy.tombstone)
    verification = read_hash(keys.verification)
    change_hold(keys.phone, request.ref, {units = open_guesses(verification), ends_at = expires_at})
  end
  outcome = state_of(verification, now + shown_wait(phone, request.lane, request.address))
  outcome.outcome = 'settled'
end
-- A start whose verification is gone came to an unknown call (cancel_reservation.lua).
if outcome.outcome == 'settled' or request.number > 1 then remember(outcome) end
return reply(outcome.outcome, outcome)
