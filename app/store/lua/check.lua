#!lua flags=allow-oom
-- uses: counters guard verification
-- Compares a code: state, attempt, comparison and new state in one step, so that N guesses at once are N guesses in a row.
-- Digests are compared in constant time: Lua keeps one copy of each string, so == compares two addresses; and an HMAC is compared, of which a caller chooses
-- nothing. Runs in a full store: a person waits. No limit by address: what a placed call's code may cost is held since then (lib/calls.lua).
-- keys     verification, phone, guesses, suspended, sprayed; country, range, lane
-- request  client, ref, digests (of the last digits that were typed, by their number), prefix, country, range
-- reply    approved {approved_at, purpose, repeated} | incorrect {attempts_left, alert} | incomplete {code_length} | ended {status} | not_found
local verification = read_hash(keys.verification)
local status = status_of(verification)
if not status then return reply('not_found') end
if status ~= 'pending' and status ~= 'approved' then return reply('ended', {status = status}) end

local wrong, max_attempts = tonumber(verification.wrong or 0), tonumber(verification.max_attempts)
if wrong >= max_attempts then
  if status == 'pending' then bury('locked') end
  return reply('ended', {status = status == 'pending' and 'locked' or status})
end
if status == 'approved' and now - tonumber(verification.approved_at) >= policy.repeat_window then return reply('ended', {status = 'approved'}) end
local digest = request.digests[verification.code_length]
if not digest then return reply('incomplete', {code_length = tonumber(verification.code_length)}) end

local cost = tonumber(verification.guess_cost) * codes_of(verification)
local lane = verification.lane

-- Counts a verification that was guessed at, or one that was approved, and raises the alert if too many were guessed at for those that were approved.
-- Whether it was raised just now.
local function watch(name)
  if not policy.spray or cost == 0 then return false end
  local spray = read_counter(keys.sprayed, HOUR)
  count_in(spray, name, 1, policy.spray.lasts)
  if name == 'approved' or total_of(spray, 'guessed_at') <= policy.spray.floor + total_of(spray, 'approved') / 2 then return false end
  redis.call('HSET', keys.sprayed, 'alert_until', now + policy.spray.lasts)
  return tonumber(spray.state.alert_until or 0) <= now
end

-- Gives the verification's calls back to their addresses and networks. Their counters are named after digests that only the record knows, so they are
-- no KEYS; they lie in the same slot, as all keys do. While a cluster moves the slot, one may be on another node already: then the call stays counted, and
-- the script goes on.
local function give_back_to_addresses()
  local function give_back(key, window, at) pcall(correct, request.prefix .. key, window, lane, at, -1) end
  for number = 1, tonumber(verification.calls) do
    local call = call_of(verification, number)
    if call then
      if redis.call('HEXISTS', keys.phone, 'call:' .. call.at) == 1 then
        redis.call('HSET', keys.phone, 'call:' .. call.at, lane .. ':' .. call.address .. ':converted')
      end
      for _, window in ipairs(policy.windows_per_ip) do
        if call.address ~= '' then give_back('address:' .. call.address .. ':' .. window, window, call.at) end
        if call.network ~= '' then give_back('network:' .. call.network .. ':' .. window, window, call.at) end
      end
      if call.network ~= '' then give_back('network:' .. call.network, HOUR, call.at) end
    end
  end
end

if digest == verification.code or digest == verification.previous_code then
  for field, spent in pairs(verification) do
    local slice = string.match(field, '^spent:(%d+)$')
    if slice and redis.call('HEXISTS', keys.guesses, lane .. ':' .. slice) == 1 then redis.call('HINCRBY', keys.guesses, lane .. ':' .. slice, -spent) end
    if slice then redis.call('HDEL', keys.verification, field) end
  end
  if status == 'approved' then
    return reply('approved', {approved_at = tonumber(verification.approved_at), purpose = verification.purpose, repeated = true})
  end
  redis.call('HSET', keys.verification, 'status', 'approved', 'approved_at', now, 'code', digest)
  redis.call('HDEL', keys.verification, 'previous_code')
  redis.call('PEXPIRE', keys.verification, policy.tombstone)
  if cost > 0 then
    -- Wrong codes still count while the approval may be repeated: else that time would be free guessing.
    verification.previous_code = nil
    change_hold(keys.phone, request.ref, {units = open_guesses(verification), ends_at = now + policy.repeat_window})
    -- The owner answered: the resend cooldown, which is there against calls that no one answers, starts again.
    redis.call('HDEL', keys.phone, 'step', 'trusted_step')
    give_back_to_addresses()
    count_converted(open_guards(lane))
    count(keys.lane, HOUR, lane .. '_converted', 1)
    watch('approved')
  end
  return reply('approved', {approved_at = now, purpose = verification.purpose})
end

redis.call('HINCRBY', keys.verification, 'wrong', 1)
if cost > 0 then
  count(keys.guesses, policy.guess_window, lane, cost)
  redis.call('HINCRBY', keys.verification, 'spent:' .. slice_at(now, policy.guess_window), cost)
  change_hold(keys.phone, request.ref, {spent = cost})
end
local alert = wrong == 0 and status == 'pending' and watch('guessed_at')
if status == 'approved' then return reply('ended', {status = 'approved'}) end
if wrong + 1 >= max_attempts then bury('locked') end
return reply('incorrect', {attempts_left = max_attempts - wrong - 1, alert = alert or nil})
