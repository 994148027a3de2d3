-- uses: clock limits calls once window
-- Reserves a phone's next call and writes the verification it is for. Atomic, because of many starts of one phone one may call, and of many sendings of
-- one request one.
-- KEYS  1 verification  2 phone  3 record of the idempotency key  4 calls for the address  5 calls for the client  (2 again where there is no such thing)
-- ARGV  1 client  2 ladder, ms: '30000,60000'  3 limits, count:ms: '5:3600000,10:86400000'  4 blocking: ms until a call whose placing never reported
--       back stops blocking the next; '0' for a number that is never called  5 limits of the address, '' for none  6 limits of the client, '' for none
--       7 digest of the request's body, '' without an idempotency key  8 seed of the id  9 deadline: ms for the call to report back
--       10 purpose, '' for none  11, 12, 13 h, l, f under the previous pepper (only while rotating; '' where absent)
-- ->    {'reserved', now} | {'in_progress', ms} | {'limited', which, ms} | as recall() of lib/once.lua
local now, ladder, limits, deadline = clock(), numbers_of(ARGV[2]), pairs_of(ARGV[3]), tonumber(ARGV[9])
local seen = ARGV[7] ~= '' and recall(KEYS[3], ARGV[7], KEYS[2], now, ladder, limits)
if seen then return seen end
local windows, denied = open_windows(now, {{KEYS[4], ARGV[5], 'starts_per_ip'}, {KEYS[5], ARGV[6], 'starts_per_client'}})
if denied then return denied end
local inherited
if ARGV[11] then inherited = {ARGV[11], ARGV[12] ~= '' and ARGV[12], ARGV[13] ~= '' and ARGV[13]} end
local ref = string.match(KEYS[1], '[^:]*$')
denied = reserve_call(KEYS[2], ref .. ':1', now, ladder, limits, tonumber(ARGV[4]), inherited)
if denied then return denied end

count_in(windows)
if ARGV[7] ~= '' then claim(KEYS[3], ARGV[7], ARGV[8], now + deadline) end
redis.call('HSET', KEYS[1], 'c', ARGV[1], 's', 'r', 't', now, 'n', 1)
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'u', ARGV[10]) end
redis.call('PEXPIRE', KEYS[1], deadline)
return {'reserved', now}
