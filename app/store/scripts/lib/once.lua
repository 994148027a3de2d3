-- A request with an idempotency key (keys.py), a hash:
--   b  digest of its body     s  seed of its verification's id     u  until when it is being carried out (unix ms)
--   o  what came of it (msgpack): {'settled', …}, {'ended', status}, {'not_found'}, {'refused', reason} or {'unknown', ms}
-- Kept for a day from its first sight. A request that was denied before anything was called leaves none.
local KEPT = 86400000

local function remember(record, outcome)
  -- The first outcome stays: one that comes late, when others were told that nobody knows, changes nothing.
  if redis.call('EXISTS', record) == 1 then redis.call('HSETNX', record, 'o', cmsgpack.pack(outcome)) end
end

-- What became of the request, or nil if its key was never used: {'key_reused'}, {'key_in_use'} or {'replayed', seed, outcome}.
local function recall(record, body, phone, now, ladder, limits, address)
  local held = redis.call('HMGET', record, 'b', 's', 'u', 'o')
  if not held[1] then return nil end
  if held[1] ~= body then return {'key_reused'} end
  if held[4] then return {'replayed', held[2], cmsgpack.unpack(held[4])} end
  if tonumber(held[3]) > now then return {'key_in_use'} end
  -- Whoever carried it out ended on the way, so nobody knows whether the phone rang. It is not called again for this request.
  local outcome = {'unknown', wait_for_call(redis.call('HMGET', phone, 'h', 'l'), now, ladder, limits, address)}
  remember(record, outcome)
  return {'replayed', held[2], outcome}
end

local function claim(record, body, seed, busy_until)
  redis.call('HSET', record, 'b', body, 's', seed, 'u', busy_until)
  redis.call('PEXPIRE', record, KEPT)
end
