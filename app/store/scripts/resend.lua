-- uses: clock life limits calls once window balance guard verification counts
-- Reserves another call for a pending verification. Atomic, because a verification may end, and its phone be called, at any moment.
-- KEYS  1 to 12 as in start.lua
-- ARGV  1 to 17 as in start.lua  18 ttl, ms  19 longest life, ms  20 tombstone, ms
-- ->    {'reserved', now, number, rooms as in window.lua} | {'not_found'} | {'ended', status} | {'in_progress', ms} | {'limited', name, ms, which of its limits}
--       | {'closed', …} as in start.lua | as recall() of lib/once.lua
local now, ladder, limits, address = clock(), ARGV[2], ARGV[3], ARGV[5]
local seen = ARGV[9] ~= '' and recall(KEYS[3], ARGV[9], KEYS[2], now, ladder, limits, address)
if seen then return seen end
local held = redis.call('HMGET', KEYS[1], 'c', 's', 'x', 'n', 't')
local status = status_of(held, ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' then return {'ended', status} end

local windows = open_counts(now)
if windows.denied then return windows.denied end
local guards = {open_guard(KEYS[10], ARGV[16], now), open_guard(KEYS[11], ARGV[17], now)}
local denied = guarded(guards, KEYS[12], now)
if denied then return denied end
local number, phone = tonumber(held[4]) + 1, redis.call('HMGET', KEYS[2], 'h', 'l', 'f', 'g')
denied = reserve_call(KEYS[2], phone, call_of(KEYS[1], number), now, ladder, limits, address, tonumber(ARGV[4]))
if denied then return denied end

keep_windows(windows)
count_call(guards, now)
if ARGV[9] ~= '' then claim(KEYS[3], ARGV[9], ARGV[10], now + tonumber(ARGV[11])) end
-- The expiry moves now already, lest the verification end while its call is being placed.
local expires = math.min(now + tonumber(ARGV[18]), tonumber(held[5]) + tonumber(ARGV[19]))
redis.call('HSET', KEYS[1], 'n', number, 'x', expires)
redis.call('PEXPIREAT', KEYS[1], expires + tonumber(ARGV[20]))
return with_rooms({'reserved', now, number}, windows, TOLD)
