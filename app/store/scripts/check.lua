-- uses: clock limits verification window guesses balance guard
-- Compares a code: limits, budget, state, attempt, comparison and new state in one step, so that N guesses at once are N guesses in a row.
-- Digests are compared in constant time: Lua keeps one copy of each string, so == compares two addresses, whatever the bytes; and what is
-- compared is an HMAC, of which a caller chooses nothing.
-- KEYS  1 verification  2 phone  3 wrong guesses of the address  4 guard of the country  5 guard of the range  6 list of what is closed  7 verifications
--       that were guessed at, of all phones  (2 again where there is no such thing)
-- ARGV  1 client  2 digest of the typed code  3 most wrong guesses  4 grace, ms  5 tombstone, ms  6 limits of the address, '' for none
--       7 what a guess at one code costs, '0' for a test number  8 what guesses at codes of this length may add up to
--       9 rule of the country  10 rule of the range  11 rule of verifications that were guessed at  (balance.lua; '' for none)  12 how long the alarm lasts, ms
-- ->    {'approved', approved at, purpose, repeated: 0 or 1, rooms as in window.lua} | {'incorrect', attempts left, alarm raised just now: 0 or 1, rooms}
--       | {'limited', name, ms, which of its limits} | {'ended', status} | {'not_found'}
local TOLD = {wrong_guesses_per_ip = true}

-- Counts a verification that was guessed at, or one that was approved, and raises the alarm when the first are too many for the second: 1 if just now.
local function watch(which, now)
  if ARGV[11] == '' then return 0 end
  local held = redis.call('HMGET', KEYS[7], 't', 'g', 'u')
  local balance = open_balance(KEYS[7], ARGV[11], now, held[1], held[2])
  if which == 'good' then
    count_good(balance)
    return 0
  end
  count_tried(balance)
  if balance.tried.total <= may_try(balance) then return 0 end
  local raised = tonumber(held[3] or 0) > now
  redis.call('HSET', KEYS[7], 'u', now + tonumber(ARGV[12]))
  return raised and 0 or 1
end

local now = clock()
local held = redis.call('HMGET', KEYS[1], 'd', 'e', 'w', 'z', 'u', 'q', 'c', 's', 'x')
local status = status_in(held[7], held[8], held[9], ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' and status ~= 'a' then return {'ended', status} end

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
if wait > 0 then return {'limited', 'guess_budget', wait, 0} end

if held[1] == ARGV[2] or held[2] == ARGV[2] then
  if guesses and spent > 0 then
    forgive(guesses, spent)
    keep_guesses(KEYS[2], guesses)
    redis.call('HDEL', KEYS[1], 'q')
  end
  if status == 'a' then return with_rooms({'approved', tonumber(held[4]), held[5] or '', 1}, windows, TOLD, now) end
  redis.call('HSET', KEYS[1], 's', 'a', 'z', now, 'd', ARGV[2])
  redis.call('HDEL', KEYS[1], 'e')
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[5]))
  -- The owner answered: the ladder, which is there against calls that nobody answers, starts anew.
  redis.call('HDEL', KEYS[2], 'l')
  confirm({open_guard(KEYS[4], ARGV[9], now), open_guard(KEYS[5], ARGV[10], now)}, KEYS[6], now)
  watch('good', now)
  return with_rooms({'approved', now, held[5] or '', 0}, windows, TOLD, now)
end

count_in(windows)
if guesses then
  add(guesses, cost)
  keep_guesses(KEYS[2], guesses)
end
redis.call('HSET', KEYS[1], 'w', wrong + 1, 'q', spent + cost)
local raised = wrong == 0 and status == 'p' and watch('tried', now) or 0
-- A wrong code spends an attempt after the approval too: else the grace time would be a free brute force.
if status == 'a' then return {'ended', 'a'} end
if wrong + 1 >= most then bury(KEYS[1], 'l', tonumber(ARGV[5])) end
return with_rooms({'incorrect', most - wrong - 1, raised}, windows, TOLD, now)
