-- uses: clock limits calls once window verification counts
-- Reserves another call for a pending verification. Atomic, because a verification may end, and its phone be called, at any moment.
-- KEYS  1 to 8 as in start.lua
-- ARGV  1 to 13 as in start.lua  14 ttl, ms  15 longest life, ms  16 tombstone, ms
-- ->    {'reserved', now, number} | {'not_found'} | {'ended', status} | {'in_progress', ms} | {'limited', which, ms} | as recall() of lib/once.lua
local now, ladder, limits = clock(), numbers_of(ARGV[2]), pairs_of(ARGV[3])
local seen = ARGV[7] ~= '' and recall(KEYS[3], ARGV[7], KEYS[2], now, ladder, limits)
if seen then return seen end
local status = status_of(KEYS[1], ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' then return {'ended', status} end

local windows, denied = open_counts(now)
if denied then return denied end
local number = tonumber(redis.call('HGET', KEYS[1], 'n')) + 1
local ref = string.match(KEYS[1], '[^:]*$')
denied = reserve_call(KEYS[2], ref .. ':' .. number, now, ladder, limits, tonumber(ARGV[4]))
if denied then return denied end

count_in(windows)
if ARGV[7] ~= '' then claim(KEYS[3], ARGV[7], ARGV[8], now + tonumber(ARGV[9])) end
-- The expiry moves now already, lest the verification end while its call is being placed.
local created = tonumber(redis.call('HGET', KEYS[1], 't'))
local expires = math.min(now + tonumber(ARGV[14]), created + tonumber(ARGV[15]))
redis.call('HSET', KEYS[1], 'n', number, 'x', expires)
redis.call('PEXPIREAT', KEYS[1], expires + tonumber(ARGV[16]))
return {'reserved', now, number}
