-- The guard against toll fraud: calls to a country, or to a range of ten thousand numbers, that nobody confirms. Works on a balance (balance.lua) of calls
-- and approvals, in whose hash lie besides:
--   n  how often it closed in a row     p  probes since it reopened, l  when the last was placed, q  how many were confirmed
-- A destination that is tried more than it may be closes for a while; then it lets a few probes through, and is open again when most are confirmed: with
-- clean counts. Else it closes for twice as long. Which are closed stands in a sorted set, by their name and until when.
local PAUSE, LONGEST_PAUSE = 900000, 7200000
local PROBES, CONFIRMED = 5, 3
local PATIENCE = 300000 -- a probe may still be confirmed

local function open_guard(key, rule, now)
  if rule == '' then return nil end
  local guard = open_balance(key, rule, now)
  if not guard.closed then
    guard.times = 0
    return guard
  end
  local held = redis.call('HMGET', key, 'n', 'p', 'l', 'q')
  guard.times, guard.probes = tonumber(held[1] or 0), tonumber(held[2] or 0)
  guard.last, guard.confirmed = tonumber(held[3] or 0), tonumber(held[4] or 0)
  return guard
end

local function destination_of(guard)
  return string.match(guard.key, '[^:]*$')
end

local function close(guard, list, now)
  local pause = math.min(PAUSE * 2 ^ guard.times, LONGEST_PAUSE)
  redis.call('HSET', guard.key, 'u', now + pause, 'n', guard.times + 1, 'p', 0, 'q', 0)
  redis.call('PEXPIRE', guard.key, KEPT)
  redis.call('ZREMRANGEBYSCORE', list, '-inf', now)
  redis.call('ZADD', list, now + pause, destination_of(guard))
  redis.call('PEXPIRE', list, KEPT)
  return pause
end

local function reopen(guard, list)
  redis.call('HDEL', guard.key, 'u', 'n', 'p', 'l', 'q')
  redis.call('ZREM', list, destination_of(guard))
end

-- How long a destination stays closed: ms, 0 if it lets a call through; and whether it closed just now.
local function closed_for(guard, list, now)
  if not guard.closed then
    if has_room(guard, 1) then return 0, false end
    return close(guard, list, now), true
  end
  if guard.closed > now then return guard.closed - now, false end
  if guard.probes < PROBES then return 0, false end
  if guard.last + PATIENCE > now then return guard.last + PATIENCE - now, false end
  return close(guard, list, now), true
end

-- nil, or {'closed', which: 1 the first of them, …, ms, closed just now: 0 or 1}
local function guarded(guards, list, now)
  for which, guard in pairs(guards) do
    local wait, just_now = closed_for(guard, list, now)
    if wait > 0 then return {'closed', which, wait, just_now and 1 or 0} end
  end
  return nil
end

local function count_call(guards, now)
  for _, guard in pairs(guards) do
    count_to(guard, 't')
    if guard.closed then redis.call('HSET', guard.key, 'p', guard.probes + 1, 'l', now) end
  end
end

-- A call that did not come about, or of which nobody can know whether it did, counts no more. A probe is used up unless it was refused.
local function uncount_call(guards, at, refused)
  for _, guard in pairs(guards) do
    redis.call('HSET', guard.key, 't', (corrected(guard.t, 1, HOUR, guard.now, at, -1)))
    redis.call('PEXPIRE', guard.key, KEPT)
    if refused and guard.closed and guard.probes > 0 then redis.call('HSET', guard.key, 'p', guard.probes - 1) end
  end
end

local function confirm(guards, list, now)
  for _, guard in pairs(guards) do
    count_to(guard, 'g')
    if guard.closed and guard.closed <= now then
      redis.call('HSET', guard.key, 'q', guard.confirmed + 1)
      if guard.confirmed + 1 >= CONFIRMED then
        reopen(guard, list)
        redis.call('HDEL', guard.key, 't', 'g')
      end
    elseif guard.closed and has_room(guard, 1) then
      -- The answers were only late.
      reopen(guard, list)
    end
  end
end
