-- uses: clock life limits verification window correction guesses balance guard
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

-- Counts a verification that was guessed at: 't', or one that was approved: 'g', and raises the alarm when the first are too many for the second: 1 if
-- just now.
local function watch(which, now)
  if ARGV[11] == '' then return 0 end
  local balance = open_balance(KEYS[7], ARGV[11], now)
  count_to(balance, which)
  if which == 'g' or has_room(balance, 0) then return 0 end
  redis.call('HSET', KEYS[7], 'u', now + tonumber(ARGV[12]))
  return balance.closed and balance.closed > now and 0 or 1
end

local now = clock()
local held = redis.call('HMGET', KEYS[1], 'c', 's', 'x', 'd', 'e', 'w', 'z', 'u', 'q')
local status = status_of(held, ARGV[1], now)
if not status then return {'not_found'} end
if status ~= 'p' and status ~= 'a' then return {'ended', status} end

local last_code, code_before, approved_at, purpose, spent = held[4], held[5], held[7], held[8] or '', tonumber(held[9] or 0)
local wrong, most = tonumber(held[6] or 0), tonumber(ARGV[3])
if wrong >= most then
  if status == 'p' then bury(KEYS[1], 'l', ARGV[5]) end
  return {'ended', status == 'p' and 'l' or status}
end
if status == 'a' and now - tonumber(approved_at) > tonumber(ARGV[4]) then return {'ended', 'a'} end

-- From here on the code is compared. Whoever may guess no more is told nothing of a right code either.
local windows = {now = now, wait = 0}
open_window(windows, KEYS[3], ARGV[6], 'wrong_guesses_per_ip', 1)
if windows.denied then return windows.denied end
local codes = code_before and code_before ~= last_code and 2 or 1
local cost = tonumber(ARGV[7]) * codes
local guesses, guessed, first_of_slice
if cost > 0 then
  guesses = redis.call('HGET', KEYS[2], 'g') or ''
  local _
  guessed, _, first_of_slice = counted(guesses, 1, DAY, now, cost)
  local wait = wait_for(guessed, tonumber(ARGV[8]), now)
  if wait > 0 then return {'limited', 'guess_budget', wait, 0} end
end

if last_code == ARGV[2] or code_before == ARGV[2] then
  local forgiven = guesses and spent > 0
  if forgiven then forgive(KEYS[2], guesses, now, spent) end
  if status == 'a' then
    if forgiven then redis.call('HDEL', KEYS[1], 'q') end
    return with_rooms({'approved', tonumber(approved_at), purpose, 1}, windows, TOLD)
  end
  if forgiven then
    redis.call('HDEL', KEYS[1], 'e', 'q')
  elseif code_before then
    redis.call('HDEL', KEYS[1], 'e')
  end
  redis.call('HSET', KEYS[1], 's', 'a', 'z', now, 'd', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  -- The owner answered: the ladder, which is there against calls that nobody answers, starts anew.
  redis.call('HDEL', KEYS[2], 'l')
  confirm({open_guard(KEYS[4], ARGV[9], now), open_guard(KEYS[5], ARGV[10], now)}, KEYS[6], now)
  watch('g', now)
  return with_rooms({'approved', now, purpose, 0}, windows, TOLD)
end

keep_windows(windows)
if guesses then charge(KEYS[2], guessed, first_of_slice) end
redis.call('HSET', KEYS[1], 'w', wrong + 1, 'q', spent + cost)
local raised = wrong == 0 and status == 'p' and watch('t', now) or 0
-- A wrong code spends an attempt after the approval too: else the grace time would be a free brute force.
if status == 'a' then return {'ended', 'a'} end
if wrong + 1 >= most then bury(KEYS[1], 'l', ARGV[5]) end
return with_rooms({'incorrect', most - wrong - 1, raised}, windows, TOLD)
