-- uses: clock limits calls once window guesses counts
-- Reserves a phone's next call and writes the verification it is for. Atomic, because of many starts of one phone one may call, and of many sendings of
-- one request one.
-- KEYS  1 verification  2 phone  3 record of the idempotency key  4 calls for the address  5 calls for the client  6 money of all calls  7 of the client's
--       8 of the country's  (2 again where there is no such thing)  9, 10 the verification if its code had one digit more, two more (as many as there are)
-- ARGV  1 client  2 ladder, ms: '30000,60000'  3 limits, count:ms: '5:3600000,10:86400000'  4 blocking: ms until a call whose placing never reported
--       back stops blocking the next; '0' for a number that is never called  5 limits of the address, '' for none  6 limits of the client, '' for none
--       7 digest of the request's body, '' without an idempotency key  8 seed of the id  9 deadline: ms for the call to report back
--       10 price that is reserved  11 caps of all calls  12 of the client's  13 of the country's ('' for none)
--       14 purpose, '' for none  15 guess budget, worst:room of each verification of KEYS in turn: '600:940,60:940,6:1000'; '' for none
--       16, 17 seeds of KEYS 9, 10 ('' where absent)  18 to 21 h, l, f, g under the previous pepper (only while rotating; '' where absent)
-- ->    {'reserved', now, place of the verification among KEYS 1, 9, 10 from 0} | {'in_progress', ms} | {'limited', which, ms} | as recall() of lib/once.lua
local now, ladder, limits, deadline = clock(), numbers_of(ARGV[2]), pairs_of(ARGV[3]), tonumber(ARGV[9])
local seen = ARGV[7] ~= '' and recall(KEYS[3], ARGV[7], KEYS[2], now, ladder, limits)
if seen then return seen end
local windows, denied = open_counts(now)
if denied then return denied end
local inherited
if ARGV[18] then inherited = {ARGV[18], ARGV[19] ~= '' and ARGV[19], ARGV[20] ~= '' and ARGV[20], ARGV[21] ~= '' and ARGV[21]} end

-- The fewest digits whose guesses there is room for; else the most there are.
local verifications, seeds, place = {KEYS[1], KEYS[9], KEYS[10]}, {ARGV[8], ARGV[16], ARGV[17]}, 1
local held = inherited and redis.call('EXISTS', KEYS[2]) == 0 and inherited[4] or redis.call('HGET', KEYS[2], 'g')
local spent = open_part(held or '', 1, now, DAY).total
for digits, budget in ipairs(pairs_of(ARGV[15])) do
  place = digits
  if spent + budget[1] <= budget[2] then break end
end
local verification = verifications[place]
local ref = string.match(verification, '[^:]*$')
denied = reserve_call(KEYS[2], ref .. ':1', now, ladder, limits, tonumber(ARGV[4]), inherited)
if denied then return denied end

count_in(windows)
if ARGV[7] ~= '' then claim(KEYS[3], ARGV[7], seeds[place], now + deadline) end
redis.call('HSET', verification, 'c', ARGV[1], 's', 'r', 't', now, 'n', 1)
if ARGV[14] ~= '' then redis.call('HSET', verification, 'u', ARGV[14]) end
redis.call('PEXPIRE', verification, deadline)
return {'reserved', now, place - 1}
