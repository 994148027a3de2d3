-- The guard against toll fraud: what becomes of calls to a country, to a range of ten thousand numbers, and of all calls of a lane. A counter of one hour
-- (counters.lua) with the names LANE_placed and LANE_converted. The state of each lane:
--   LANE_suspended_until (unix ms)   LANE_suspensions in a row   LANE_trials placed since, LANE_last_trial (unix ms), LANE_trials_converted
-- The lanes know nothing of each other: what strangers do suspends no call of a backend. A destination gets so many calls an hour whatever comes of them,
-- and beyond that as many as keep policy.min_conversion (in thousandths). Then it is suspended for a while, and a few trial calls decide what follows.
local HOUR = 3600

local function open_guard(name, rule, lane, destination)
  local guard = read_counter(keys[name], HOUR)
  guard.name, guard.lane, guard.destination, guard.floor = name, lane, destination, rule[lane]
  guard.placed, guard.converted = total_of(guard, lane .. '_placed'), total_of(guard, lane .. '_converted')
  local function state(field) return tonumber(guard.state[lane .. '_' .. field] or 0) end
  guard.suspended_until, guard.suspensions, guard.trials = state('suspended_until'), state('suspensions'), state('trials')
  guard.last_trial, guard.trials_converted = state('last_trial'), state('trials_converted')
  return guard
end

local function set_state(guard, ...)
  local fields = {...}
  for at = 1, #fields, 2 do fields[at] = guard.lane .. '_' .. fields[at] end
  redis.call('HSET', guard.key, unpack(fields))
  redis.call('PEXPIRE', guard.key, policy.guard_lifetime)
end

local function has_room(guard, more)
  local allowed = guard.floor + math.floor(guard.converted * 1000 / policy.min_conversion)
  return guard.placed + more <= allowed
end

local function member_of(guard)
  return guard.lane .. ':' .. guard.destination
end

local function suspend(guard)
  local pause = math.min(policy.suspension * 2 ^ guard.suspensions, policy.max_suspension)
  set_state(guard, 'suspended_until', now + pause, 'suspensions', guard.suspensions + 1, 'trials', 0, 'trials_converted', 0)
  redis.call('ZREMRANGEBYSCORE', keys.suspended, '-inf', now)
  redis.call('ZADD', keys.suspended, now + pause, member_of(guard))
  redis.call('PEXPIRE', keys.suspended, policy.guard_lifetime)
  return pause
end

local function resume(guard)
  for _, field in ipairs({'suspended_until', 'suspensions', 'trials', 'last_trial', 'trials_converted'}) do
    redis.call('HDEL', guard.key, guard.lane .. '_' .. field)
  end
  redis.call('ZREM', keys.suspended, member_of(guard))
end

-- Milliseconds that a destination stays suspended, 0 if it takes a call; and whether it was suspended just now.
local function suspension_of(guard)
  if guard.suspended_until == 0 then
    if has_room(guard, 1) then return 0, false end
    return suspend(guard), true
  end
  if guard.suspended_until > now then return guard.suspended_until - now, false end
  if guard.trials < policy.trial_calls then return 0, false end
  if guard.last_trial + policy.trial_wait > now then return guard.last_trial + policy.trial_wait - now, false end
  return suspend(guard), true
end

local function guards_deny(guards)
  for _, guard in ipairs(guards) do
    local wait, just_now = suspension_of(guard)
    if wait > 0 then return reply('suspended', {scope = guard.name, wait = wait, just_now = just_now}) end
  end
  return nil
end

local function count_placed(guards)
  for _, guard in ipairs(guards) do
    count_in(guard, guard.lane .. '_placed', 1, policy.guard_lifetime)
    if guard.suspended_until > 0 then set_state(guard, 'trials', guard.trials + 1, 'last_trial', now) end
  end
end

-- A call that did not come about, or of which no one can know whether it did, counts no more. A trial call is used up unless it was refused.
local function uncount_placed(guards, at, refused)
  for _, guard in ipairs(guards) do
    correct(guard.key, HOUR, guard.lane .. '_placed', at, -1)
    if refused and guard.suspended_until > 0 and guard.trials > 0 then set_state(guard, 'trials', guard.trials - 1) end
  end
end

local function count_converted(guards)
  for _, guard in ipairs(guards) do
    count_in(guard, guard.lane .. '_converted', 1, policy.guard_lifetime)
    guard.converted = guard.converted + 1
    if guard.suspended_until > 0 and guard.suspended_until <= now then
      set_state(guard, 'trials_converted', guard.trials_converted + 1)
      if guard.trials_converted + 1 >= policy.trials_to_resume then
        resume(guard)
        for slice in pairs(guard.slices[guard.lane .. '_placed'] or {}) do redis.call('HDEL', guard.key, guard.lane .. '_placed:' .. slice) end
        for slice in pairs(guard.slices[guard.lane .. '_converted'] or {}) do redis.call('HDEL', guard.key, guard.lane .. '_converted:' .. slice) end
      end
    elseif guard.suspended_until > 0 and has_room(guard, 1) then
      resume(guard)
    end
  end
end

-- The guards of a call: of its country and its range; none for a number that is never called.
local function open_guards(lane)
  local guards = {}
  if not policy.guard or not request.country then return guards end
  table.insert(guards, open_guard('country', policy.guard.country, lane, request.country))
  table.insert(guards, open_guard('range', policy.guard.range, lane, request.range))
  return guards
end
