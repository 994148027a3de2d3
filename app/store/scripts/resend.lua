-- uses: clock calls verification
-- Reserves another call for a pending verification. Atomic, because a verification may end, and its phone be called, at any moment.
-- KEYS  1 verification  2 phone
-- ARGV  1 client  2 ladder  3 limits  4 deadline  (as in start.lua)  5 ttl, ms  6 longest life, ms  7 tombstone, ms
-- ->    {'reserved', now, number} | {'not_found'} | {'ended', status} | {'in_progress', ms} | {'limited', which, ms}
local now = clock()
local status = status_of(KEYS[1], ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' then return {'ended', status} end

local number = tonumber(redis.call('HGET', KEYS[1], 'n')) + 1
local ref = string.match(KEYS[1], '[^:]*$')
local denied = reserve_call(KEYS[2], ref .. ':' .. number, now, numbers_of(ARGV[2]), pairs_of(ARGV[3]), tonumber(ARGV[4]))
if denied then return denied end

-- The expiry moves now already, lest the verification end while its call is being placed.
local created = tonumber(redis.call('HGET', KEYS[1], 't'))
local expires = math.min(now + tonumber(ARGV[5]), created + tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'n', number, 'x', expires)
redis.call('PEXPIREAT', KEYS[1], expires + tonumber(ARGV[7]))
return {'reserved', now, number}
