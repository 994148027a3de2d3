-- uses: clock calls
-- Reserves a phone's next call and writes the verification it is for. Atomic, because of many starts of one phone one may call.
-- KEYS  1 verification  2 phone
-- ARGV  1 client  2 purpose ('' for none)  3 ladder, ms: '30000,60000'  4 limits, count:ms: '5:3600000,10:86400000'
--       5 deadline: ms until a call whose placing never reported back stops blocking  6, 7, 8 h, l, f under the previous pepper
--       (only while rotating; '' where absent)
-- ->    {'reserved', now} | {'in_progress', ms} | {'limited', which, ms}
local now, deadline = clock(), tonumber(ARGV[5])
local inherited
if ARGV[6] then inherited = {ARGV[6], ARGV[7] ~= '' and ARGV[7], ARGV[8] ~= '' and ARGV[8]} end
local ref = string.match(KEYS[1], '[^:]*$')
local denied = reserve_call(KEYS[2], ref .. ':1', now, numbers_of(ARGV[3]), pairs_of(ARGV[4]), deadline, inherited)
if denied then return denied end

redis.call('HSET', KEYS[1], 'c', ARGV[1], 's', 'r', 't', now, 'n', 1)
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'u', ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], deadline)
return {'reserved', now}
