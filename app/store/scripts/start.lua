-- uses: clock life limits calls once window guesses balance guard counts
-- Reserves a phone's next call and writes the verification it is for. Atomic, because of many starts of one phone one may call, and of many sendings of
-- one request one.
-- KEYS  1 verification  2 phone  3 record of the idempotency key  4 calls for the address  5 calls for the client  6 all calls  7 money of all calls
--       8 of the client's  9 of the country's  10 guard of the country  11 guard of the range  12 list of what is closed  (2 again where there is no such thing)
--       13 verifications that were guessed at, of all phones  14 solution of a challenge  (2 again where there is no such thing)
--       15, 16 the verification if its code had one digit more, two more (as many as there are)
-- ARGV  1 client  2 ladder, 3 limits (limits.lua)  4 blocking: ms until a call whose placing never reported
--       back stops blocking the next; '0' for a number that is never called  5 address in the phone's record (calls.lua)
--       6 limits of the address  7 of the client  8 of all calls  ('' for none)
--       9 digest of the request's body, '' without an idempotency key  10 seed of the id  11 deadline: ms for the call to report back
--       12 price that is reserved  13 caps of all calls  14 of the client's  15 of the country's ('' for none)
--       16 rule of the country  17 rule of the range (balance.lua; '' for none)
--       18 purpose, '' for none  19 guess budget: worst and room of each verification of KEYS in turn, 4 bytes each; '' for none
--       20, 21 seeds of KEYS 15, 16 ('' where absent)  22 when a solution is asked for: 'never', 'auto', 'always'  23 how long one counts, ms: '0' for
--       none  24 to 27 h, l, f, g under the previous pepper (only while rotating; '' where absent)
-- ->    {'reserved', now, place of the verification among KEYS 1, 15, 16 from 0, rooms as in window.lua} | {'challenged'} | {'in_progress', ms}
--       | {'limited', name, ms, which of its limits}
--       | {'closed', which: 1 country, 2 range, ms, closed just now: 0 or 1} | as recall() of lib/once.lua
local now, ladder, limits, address = clock(), ARGV[2], ARGV[3], ARGV[5]
local seen = ARGV[9] ~= '' and recall(KEYS[3], ARGV[9], KEYS[2], now, ladder, limits, address)
if seen then return seen end
local challenged = ARGV[22] == 'always' or ARGV[22] == 'auto' and tonumber(redis.call('HGET', KEYS[13], 'u') or 0) > now
if challenged and (ARGV[23] == '0' or redis.call('EXISTS', KEYS[14]) == 1) then return {'challenged'} end
local windows = open_counts(now)
if windows.denied then return windows.denied end
local guards = {open_guard(KEYS[10], ARGV[16], now), open_guard(KEYS[11], ARGV[17], now)}
local denied = guarded(guards, KEYS[12], now)
if denied then return denied end
local held = redis.call('HMGET', KEYS[2], 'h', 'l', 'f', 'g')
local inherited = ARGV[24] and redis.call('EXISTS', KEYS[2]) == 0
if inherited then held = {ARGV[24], ARGV[25] ~= '' and ARGV[25], ARGV[26] ~= '' and ARGV[26], ARGV[27] ~= '' and ARGV[27]} end

-- The fewest digits whose guesses there is room for; else the most there are.
local verifications, seeds, place = {KEYS[1], KEYS[15], KEYS[16]}, {ARGV[10], ARGV[20], ARGV[21]}, 1
local _, spent = counted(held[4] or '', 1, DAY, now, 0)
for digits = 1, #ARGV[19] / LIMIT do
  place = digits
  local worst, room = limit_at(ARGV[19], digits)
  if spent + worst <= room then break end
end
local verification = verifications[place]
denied = reserve_call(KEYS[2], held, call_of(verification, 1), now, ladder, limits, address, tonumber(ARGV[4]))
if denied then return denied end
if inherited and held[4] then charge(KEYS[2], held[4], true) end

if challenged then redis.call('SET', KEYS[14], '', 'PX', ARGV[23]) end
keep_windows(windows)
count_call(guards, now)
if ARGV[9] ~= '' then claim(KEYS[3], ARGV[9], seeds[place], now + tonumber(ARGV[11])) end
if ARGV[18] == '' then
  redis.call('HSET', verification, 'c', ARGV[1], 's', 'r', 't', now, 'n', '1')
else
  redis.call('HSET', verification, 'c', ARGV[1], 's', 'r', 't', now, 'n', '1', 'u', ARGV[18])
end
redis.call('PEXPIRE', verification, ARGV[11])
return with_rooms({'reserved', now, place - 1}, windows, TOLD)
