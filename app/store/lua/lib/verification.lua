-- One verification. A hash:
--   client      digest          purpose    sealed          lane       public or trusted
--   status      placing (its first call is being placed), pending, approved, locked, canceled, failed
--   created_at, expires_at, approved_at, redeemed_at       unix ms
--   code_length, guess_cost (units of one guess at one code), max_attempts, wrong (wrong codes so far)
--   calls       reserved: their numbers are never used again      refused of them      settled, the last that was
--   call_N      AT:PRICE:ADDRESS:NETWORK of call N: when and at what price it was reserved, and for whose address (digests)
--   unknown     1 if it failed because its call may have rung: a resend may follow
--   code, previous_code     digests of the codes of the last two calls      next_max_attempts   while a resend is being placed
--   spent:SLICE what its wrong codes have cost, by slice of the guess budget's counter

-- Its status for its own client; nil if it is unknown, another client's, or not yet placed: no one has its id then.
local function status_of(verification)
  if verification.client ~= request.client or verification.status == 'placing' then return nil end
  if verification.status == 'pending' and tonumber(verification.expires_at) <= now then return 'expired' end
  return verification.status
end

local function call_of(verification, number)
  local at, price, address, network = string.match(verification['call_' .. number] or '', '^(%d+):(%d+):([^:]*):([^:]*)$')
  return at and {at = tonumber(at), price = tonumber(price), address = address, network = network}
end

-- Whether a resend may still give a failed verification its first code: its call may have rung, and its time is not over.
local function can_be_called_again(verification)
  return verification.status == 'failed' and verification.unknown and tonumber(verification.created_at) + policy.max_lifetime > now
end

-- What a call is called while it is under way: no other request has the name, not even another one of this verification.
local function call_name(number)
  return request.ref .. ':' .. number .. ':' .. request.nonce
end

-- Codes that count now: two between a resend and the approval.
local function codes_of(verification)
  return verification.previous_code and verification.previous_code ~= verification.code and 2 or 1
end

-- What all guesses that it still allows may cost.
local function open_guesses(verification)
  local left = math.max(0, tonumber(verification.max_attempts) - tonumber(verification.wrong or 0))
  return left * codes_of(verification) * tonumber(verification.guess_cost)
end

-- What a live verification's guesses may still cost is held in the phone's record as hold:REF, JSON {lane, units (millionths of a probability), ends_at}.
-- This holds what a call's code may cost, in place of what its verification held.
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

-- Ends a verification: its codes go, and a tombstone stays for a while.
local function bury(status)
  redis.call('HSET', keys.verification, 'status', status)
  redis.call('HDEL', keys.verification, 'code', 'previous_code')
  redis.call('PEXPIRE', keys.verification, policy.tombstone)
  if keys.phone then redis.call('HDEL', keys.phone, 'hold:' .. request.ref) end
end

-- The state that callers see.
local function state_of(verification, next_at)
  return {
    status = status_of(verification), now = now, created_at = tonumber(verification.created_at),
    expires_at = tonumber(verification.expires_at or verification.created_at), next_at = next_at,
    code_length = tonumber(verification.code_length),
    attempts_left = math.max(0, tonumber(verification.max_attempts) - tonumber(verification.wrong or 0)),
    calls = tonumber(verification.calls) - tonumber(verification.refused or 0), purpose = verification.purpose,
    approved_at = tonumber(verification.approved_at),
  }
end
