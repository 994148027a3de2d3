-- uses: clock limits calls once verification window correction
-- Stores the code of a placed call, and what it cost. Told twice, it does and answers the same, so that it may be repeated after a lost answer.
-- Atomic, because the new code, the one before it and the expiry change together under the checks that run beside it.
-- KEYS  1 verification  2 phone  3 record of the idempotency key  4, 5, 6 money of all calls, the client's, the country's  (2 again where there is none)
-- ARGV  1 client  2 number of the call  3 digest of its code  4 ttl, ms  5 longest life, ms  6 tombstone, ms  7 ladder  8 limits
--       9 '1' if the request bears an idempotency key  10 when it was reserved, ms  11 what it cost beyond the price that was reserved
--       12, 13, 14 caps of all calls, the client's, the country's ('' for none)  15 address in the phone's record (calls.lua)
-- ->    {'settled', now, created, expires, next call, wrong, calls, purpose} | {'ended', status} | {'not_found'}
local now, number = clock(), tonumber(ARGV[2])
local phone = redis.call('HMGET', KEYS[2], 'h', 'l', 'i')
if report_back(KEYS[2], phone[3], call_of(KEYS[1], ARGV[2])) and ARGV[11] ~= '0' then
  correct_money(12, now, tonumber(ARGV[10]), tonumber(ARGV[11]))
end

local held = redis.call('HMGET', KEYS[1], 'c', 's', 'x', 't', 'k', 'd', 'w', 'n', 'u', 'r')
local status = held[2] == 'r' and 'p' or status_of(held, ARGV[1], now)
local settled
if held[1] ~= ARGV[1] then
  settled = {'not_found'}
elseif status ~= 'p' then
  settled = {'ended', status}
else
  local created, expires = tonumber(held[4]), tonumber(held[3] or 0)
  if tonumber(held[5] or 0) < number then
    expires = math.min(now + tonumber(ARGV[4]), created + tonumber(ARGV[5]))
    if held[6] then
      redis.call('HSET', KEYS[1], 's', 'p', 'k', ARGV[2], 'd', ARGV[3], 'x', expires, 'e', held[6])
    else
      redis.call('HSET', KEYS[1], 's', 'p', 'k', ARGV[2], 'd', ARGV[3], 'x', expires)
    end
    redis.call('PEXPIREAT', KEYS[1], expires + tonumber(ARGV[6]))
  end
  local next_at = now + wait_for_call(phone, now, ARGV[7], ARGV[8], ARGV[15])
  settled = {'settled', now, created, expires, next_at, tonumber(held[7] or 0), tonumber(held[8]) - tonumber(held[10] or 0), held[9] or ''}
end
if ARGV[9] == '1' then remember(KEYS[3], settled) end
return settled
