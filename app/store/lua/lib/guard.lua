-- The guard against toll fraud: what becomes of calls to a country, to a range of ten thousand numbers, and of all calls of a lane. A counter of one hour
-- (counters.lua) with the names LANE_placed and LANE_converted, and for each lane the fields LANE_FIELD:
--   suspended_until (unix ms)   suspensions in a row   trials: calls placed since, last_trial (unix ms), trials_converted
-- The lanes know nothing of each other: what strangers do suspends no call of a backend. A destination gets so many calls an hour whatever comes of them,
-- and beyond that as many as keep policy.min_conversion (in thousandths). Then it is suspended for a while, and a few trial calls decide what follows.
local HOUR = 3600
local STATE = {'suspended_until', 'suspensions', 'trials', 'last_trial', 'trials_converted'}

-- The guards of a call: of its country and its range; none for a number that is never called.
local function open_guards(lane)
  local guards = {}
  for _, name in ipairs(policy.guard and request.country and {'country', 'range'} or {}) do
    local guard = read_counter(keys[name], HOUR)
    guard.name, guard.lane, guard.member = name, lane, lane .. ':' .. request[name]
    guard.floor = policy.guard[name][lane]
    guard.placed, guard.converted = total_of(guard, lane .. '_placed'), total_of(guard, lane .. '_converted')
    for _, field in ipairs(STATE) do guard[field] = tonumber(guard.state[lane .. '_' .. field] or 0) end
    table.insert(guards, guard)
  end
  return guards
end

local function set_state(guard, changes)
  for field, value in pairs(changes) do redis.call('HSET', guard.key, guard.lane .. '_' .. field, value) end
  redis.call('PEXPIRE', guard.key, policy.guard_lifetime)
end

local function has_room(guard)
  return guard.placed < guard.floor + math.floor(guard.converted * 1000 / policy.min_conversion)
end

local function suspend(guard)
  local pause = math.min(policy.suspension * 2 ^ guard.suspensions, policy.max_suspension)
  set_state(guard, {suspended_until = now + pause, suspensions = guard.suspensions + 1, trials = 0, trials_converted = 0})
  redis.call('ZREMRANGEBYSCORE', keys.suspended, '-inf', now)
  redis.call('ZADD', keys.suspended, now + pause, guard.member)
  redis.call('PEXPIRE', keys.suspended, policy.guard_lifetime)
  return pause
end

local function resume(guard)
  for _, field in ipairs(STATE) do redis.call('HDEL', guard.key, guard.lane .. '_' .. field) end
  redis.call('ZREM', keys.suspended, guard.member)
end

-- Milliseconds that a destination stays suspended, 0 if it takes a call; and whether it was suspended just now.
local function suspension_of(guard)
  if guard.suspended_until > now then return guard.suspended_until - now, false end
  if guard.suspended_until == 0 and has_room(guard) then return 0, false end
  if guard.suspended_until > 0 then
    if guard.trials < policy.trial_calls then return 0, false end
    if guard.last_trial + policy.trial_wait > now then return guard.last_trial + policy.trial_wait - now, false end
  end
  return suspend(guard), true
end

local function guards_deny(guards)
  for _, guard in ipairs(guards) do
    local wait, just_now = suspension_of(guard)
    if wait > 0 then return reply('suspended', {scope = guard.name, wait = wait, just_now = just_now}) end
  end
end

local function count_placed(guards)
  for _, guard in ipairs(guards) do
    count_in(guard, guard.lane .. '_placed', 1, policy.guard_lifetime)
    if guard.suspended_until > 0 then set_state(guard, {trials = guard.trials + 1, last_trial = now}) end
  end
end

-- A call that did not come about, or of which no one can know whether it did, counts no more. A trial call is used up unless it was refused.
local function uncount_placed(guards, at, refused)
  for _, guard in ipairs(guards) do
    correct(guard.key, HOUR, guard.lane .. '_placed', at, -1)
    if refused and guard.suspended_until > 0 and guard.trials > 0 then set_state(guard, {trials = guard.trials - 1}) end
  end
end

local function count_converted(guards)
  for _, guard in ipairs(guards) do
    count_in(guard, guard.lane .. '_converted', 1, policy.guard_lifetime)
    guard.converted = guard.converted + 1
    if guard.suspended_until > now then
      if has_room(guard) then resume(guard) end
    elseif guard.suspended_until > 0 then
      set_state(guard, {trials_converted = guard.trials_converted + 1})
      if guard.trials_converted + 1 >= policy.trials_to_resume then
        resume(guard)
        for _, name in ipairs({guard.lane .. '_placed', guard.lane .. '_converted'}) do
          for slice in pairs(guard.slices[name] or {}) do redis.call('HDEL', guard.key, name .. ':' .. slice) end
        end
      end
    end
  end
end
