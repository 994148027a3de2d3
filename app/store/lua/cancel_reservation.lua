#!lua flags=allow-oom
-- uses: counters calls guard idempotency verification
-- A reserved call did not come about, or no one knows whether it did. The verification fails if it was its first call; one that has a code keeps it.
-- May be repeated. Runs in a full store. Atomic, because the reservation and the verification must agree.
-- keys     verification, phone, suspended, pricing; request with an idempotency key; country, range; and those that request.limits name
-- request  client, ref, nonce, lane, address, limits (of money), country, range; number, at and reserved_price, if the reply to the reservation was not lost;
--          refused: why the call was not placed, its reservation is given back; absent: the outcome is unknown, the reservation stays
-- reply    canceled {wait: ms until the phone may be called again}
local phone, verification = read_phone(keys.phone), read_hash(keys.verification)
request.lane = verification.lane or request.lane
local number = request.number or tonumber(verification.calls or 1)
local call = call_of(verification, number) or {at = request.at, price = request.reserved_price}
local ours = report_back(phone, call_name(number))
if ours and call.at then
  -- What a provider refuses or leaves open shows nothing of who is called.
  uncount_placed(open_guards(request.lane), call.at, request.refused ~= nil)
  if keys.lane then correct(keys.lane, HOUR, request.lane .. '_placed', call.at, -1) end
  if request.refused then
    give_call_back(phone, call.at)
    correct_money(request.limits, request.lane, call.at, -call.price)
  end
  redis.call('HDEL', keys.pricing, call_name(number))
end

if verification.status == 'placing' then
  bury('failed')
  redis.call('HSET', keys.verification, request.refused and 'refused' or 'unknown', 1)
elseif verification.status and ours then
  if request.refused then redis.call('HINCRBY', keys.verification, 'refused', 1) end
  -- The codes did not change, and so neither do the guesses.
  if verification.status == 'pending' then
    change_hold(keys.phone, request.ref, {units = open_guesses(verification)})
  elseif verification.status == 'failed' then
    bury('failed')  -- its resend came to no code either
  end
  redis.call('HDEL', keys.verification, 'next_max_attempts')
end
local wait = shown_wait(phone, request.lane, request.address)
if not request.number then
  forget()
else
  remember(request.refused and {outcome = 'refused', reason = request.refused} or {outcome = 'unknown', wait = wait})
end
return reply('canceled', {wait = wait})
