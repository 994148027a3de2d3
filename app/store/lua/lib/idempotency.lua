-- A request with an idempotency key. A hash:
--   body       digest of what it asks for      seed   makes the id of its verification again, together with the phone
--   busy_until until when it is in progress (unix ms)      outcome   JSON, what came of it      nonce     of the request that is executed
-- Kept for a day from its first sight. A request that was denied before anything was called leaves none.
-- Whether this is the request that is executed, and not another sending of it.
local function is_executed()
  return keys.request and redis.call('HGET', keys.request, 'nonce') == request.nonce
end

local function remember(outcome)
  -- The first outcome stays: one that comes late, when others were answered that it is unknown, changes nothing.
  if is_executed() then redis.call('HSETNX', keys.request, 'outcome', cjson.encode(outcome)) end
end

-- The caller was answered that nothing was done: then it may send the request again.
local function forget()
  if is_executed() then redis.call('DEL', keys.request) end
end

-- The reply to a request that was seen before; nil if its key was never used.
local function recall(phone)
  if not keys.request then return nil end
  local seen = read_hash(keys.request)
  if not seen.body then return nil end
  local same = false
  for _, body in ipairs(request.bodies) do same = same or body == seen.body end
  if not same then return reply('key_reused') end
  if not seen.outcome then
    if tonumber(seen.busy_until) > now then return reply('key_in_use') end
    -- Its worker ended on the way, so no one knows whether the phone rang. It is not called again for this request.
    local outcome = {outcome = 'unknown', wait = shown_wait(phone, request.lane, request.address)}
    redis.call('HSETNX', keys.request, 'outcome', cjson.encode(outcome))
    seen.outcome = cjson.encode(outcome)
  end
  return reply('replayed', {seed = seen.seed, first = cjson.decode(seen.outcome)})
end

local function claim()
  if not keys.request then return end
  redis.call('HSET', keys.request, 'body', request.bodies[1], 'seed', request.seed, 'nonce', request.nonce, 'busy_until', now + policy.call_deadline)
  redis.call('PEXPIRE', keys.request, policy.idempotency_lifetime)
end
