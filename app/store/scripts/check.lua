-- uses: clock limits verification window
-- Compares a code: limits, state, attempt, comparison and new state in one step, so that N guesses at once are N guesses in a row.
-- Digests are compared in constant time: Lua keeps one copy of each string, so == compares two addresses, whatever the bytes; and what is
-- compared is an HMAC, of which a caller chooses nothing.
-- KEYS  1 verification  2 phone  3 wrong guesses of the address (2 again without one)
-- ARGV  1 client  2 digest of the typed code  3 most wrong guesses  4 grace, ms  5 tombstone, ms  6 limits of the address, '' for none
-- ->    {'approved', approved at, purpose, repeated: 0 or 1} | {'incorrect', attempts left} | {'limited', which, ms} | {'ended', status} | {'not_found'}
local now = clock()
local status = status_of(KEYS[1], ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' and status ~= 'a' then return {'ended', status} end
-- An address that may guess no more is told nothing of a right code either.
local windows, denied = open_windows(now, {{KEYS[3], ARGV[6], 'wrong_guesses_per_ip'}})
if denied then return denied end

local held = redis.call('HMGET', KEYS[1], 'd', 'e', 'w', 'z', 'u')
local wrong, most = tonumber(held[3] or 0), tonumber(ARGV[3])
local right = wrong < most and (held[1] == ARGV[2] or held[2] == ARGV[2])

if status == 'a' then
  -- A wrong code spends an attempt here too: else the grace time would be a free brute force.
  if right and now - tonumber(held[4]) <= tonumber(ARGV[4]) then return {'approved', tonumber(held[4]), held[5] or '', 1} end
  if not right and wrong < most then
    redis.call('HINCRBY', KEYS[1], 'w', 1)
    count_in(windows)
  end
  return {'ended', 'a'}
end

if right then
  redis.call('HSET', KEYS[1], 's', 'a', 'z', now, 'd', ARGV[2])
  redis.call('HDEL', KEYS[1], 'e')
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[5]))
  -- The owner answered: the ladder, which is there against calls that nobody answers, starts anew.
  redis.call('HDEL', KEYS[2], 'l')
  return {'approved', now, held[5] or '', 0}
end

if wrong >= most then
  bury(KEYS[1], 'l', tonumber(ARGV[5]))
  return {'ended', 'l'}
end
count_in(windows)
redis.call('HSET', KEYS[1], 'w', wrong + 1)
if wrong + 1 >= most then bury(KEYS[1], 'l', tonumber(ARGV[5])) end
return {'incorrect', most - wrong - 1}
