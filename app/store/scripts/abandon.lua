-- uses: clock calls verification
-- A reserved call was refused, or its fate is unknown. A verification whose first call it was has failed; one that has a code keeps it.
-- Atomic, because the reservation and the verification must not disagree. Told twice, it does nothing the second time.
-- KEYS  1 verification  2 phone
-- ARGV  1 number of the call  2 when it was reserved, ms  3 '1' to give the reservation back (refused), '0' to keep it (unknown)
--       4 tombstone, ms  5 ladder  6 limits
-- ->    ms until the phone may be called again
local now, number = clock(), tonumber(ARGV[1])
local ref = string.match(KEYS[1], '[^:]*$')
local ours = report_back(KEYS[2], ref .. ':' .. number)
if ours and ARGV[3] == '1' then give_back(KEYS[2], tonumber(ARGV[2])) end

local status = redis.call('HGET', KEYS[1], 's')
if status == 'r' then
  bury(KEYS[1], 'f', tonumber(ARGV[4]))
elseif status and ours and ARGV[3] == '1' then
  redis.call('HINCRBY', KEYS[1], 'r', 1)
end
local phone = redis.call('HMGET', KEYS[2], 'h', 'l')
return math.max(0, next_call(phone[1] or '', tonumber(phone[2] or 0), now, numbers_of(ARGV[5]), pairs_of(ARGV[6])) - now)
