-- uses: clock limits calls once window correction balance guard verification
-- A reserved call was refused, or its fate is unknown. A verification whose first call it was has failed; one that has a code keeps it.
-- Atomic, because the reservation and the verification must not disagree. Told twice, it does nothing the second time.
-- KEYS  1 verification  2 phone  3 record of the idempotency key  4, 5, 6 money of all calls, the client's, the country's  7, 8 guard of the country, of
--       the range  (2 again where there is none)
-- ARGV  1 number of the call  2 when it was reserved, ms  3 why it was refused: the reservation is given back; '' if its fate is unknown: it is kept
--       4 tombstone, ms  5 ladder  6 limits  7 '1' if the request bears an idempotency key
--       8 price that was reserved  9, 10, 11 caps of all calls, the client's, the country's  12, 13 rule of the country, of the range  ('' for none)
--       14 address in the phone's record (calls.lua)
-- ->    ms until the phone may be called again
local now, at, refused = clock(), tonumber(ARGV[2]), ARGV[3] ~= ''
local ours = report_back(KEYS[2], redis.call('HGET', KEYS[2], 'i'), call_of(KEYS[1], ARGV[1]))
if ours then
  -- That a provider refuses or times out tells nothing of who is called.
  uncount_call({open_guard(KEYS[7], ARGV[12], now), open_guard(KEYS[8], ARGV[13], now)}, at, refused)
end
if ours and refused then
  give_back(KEYS[2], at)
  correct_money(9, now, at, -tonumber(ARGV[8]))
end

local status = redis.call('HGET', KEYS[1], 's')
if status == 'r' then
  bury(KEYS[1], 'f', ARGV[4])
elseif status and ours and refused then
  redis.call('HINCRBY', KEYS[1], 'r', 1)
end
local wait = wait_for_call(redis.call('HMGET', KEYS[2], 'h', 'l'), now, ARGV[5], ARGV[6], ARGV[14])
if ARGV[7] == '1' then remember(KEYS[3], refused and {'refused', ARGV[3]} or {'unknown', wait}) end
return wait
