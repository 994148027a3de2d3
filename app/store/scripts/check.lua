-- uses: clock limits verification window guesses
-- Compares a code: limits, budget, state, attempt, comparison and new state in one step, so that N guesses at once are N guesses in a row.
-- Digests are compared in constant time: Lua keeps one copy of each string, so == compares two addresses, whatever the bytes; and what is
-- compared is an HMAC, of which a caller chooses nothing.
-- KEYS  1 verification  2 phone  3 wrong guesses of the address (2 again without one)
-- ARGV  1 client  2 digest of the typed code  3 most wrong guesses  4 grace, ms  5 tombstone, ms  6 limits of the address, '' for none
--       7 what a guess at one code costs, '0' for a test number  8 what guesses at codes of this length may add up to
-- ->    {'approved', approved at, purpose, repeated: 0 or 1} | {'incorrect', attempts left} | {'limited', which, ms} | {'ended', status} | {'not_found'}
local now = clock()
local status = status_of(KEYS[1], ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' and status ~= 'a' then return {'ended', status} end

local held = redis.call('HMGET', KEYS[1], 'd', 'e', 'w', 'z', 'u', 'q')
local wrong, most = tonumber(held[3] or 0), tonumber(ARGV[3])
if wrong >= most then
  if status == 'p' then bury(KEYS[1], 'l', tonumber(ARGV[5])) end
  return {'ended', status == 'p' and 'l' or status}
end
if status == 'a' and now - tonumber(held[4]) > tonumber(ARGV[4]) then return {'ended', 'a'} end

-- From here on the code is compared. Whoever may guess no more is told nothing of a right code either.
local windows, denied = open_windows(now, {{KEYS[3], ARGV[6], 'wrong_guesses_per_ip'}})
if denied then return denied end
local codes = held[2] and held[2] ~= held[1] and 2 or 1
local cost, spent = tonumber(ARGV[7]) * codes, tonumber(held[6] or 0)
local guesses = cost > 0 and guesses_of(KEYS[2], now)
local wait = guesses and wait_for(guesses, cost, tonumber(ARGV[8]), now) or 0
if wait > 0 then return {'limited', 'guess_budget', wait} end

if held[1] == ARGV[2] or held[2] == ARGV[2] then
  if guesses and spent > 0 then
    forgive(guesses, spent)
    keep_guesses(KEYS[2], guesses)
    redis.call('HDEL', KEYS[1], 'q')
  end
  if status == 'a' then return {'approved', tonumber(held[4]), held[5] or '', 1} end
  redis.call('HSET', KEYS[1], 's', 'a', 'z', now, 'd', ARGV[2])
  redis.call('HDEL', KEYS[1], 'e')
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[5]))
  -- The owner answered: the ladder, which is there against calls that nobody answers, starts anew.
  redis.call('HDEL', KEYS[2], 'l')
  return {'approved', now, held[5] or '', 0}
end

count_in(windows)
if guesses then
  guesses[1] = guesses[1] + cost
  keep_guesses(KEYS[2], guesses)
end
redis.call('HSET', KEYS[1], 'w', wrong + 1, 'q', spent + cost)
-- A wrong code spends an attempt after the approval too: else the grace time would be a free brute force.
if status == 'a' then return {'ended', 'a'} end
if wrong + 1 >= most then bury(KEYS[1], 'l', tonumber(ARGV[5])) end
return {'incorrect', most - wrong - 1}
