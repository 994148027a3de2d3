-- When a start of the public lane must bring a solved challenge, and how hard it is.
-- The counter `lane` has LANE_placed and LANE_converted of all calls in an hour; `sprayed` is the state of the spray alert (check.lua).
local function lane_is_abused()
  local calls = read_counter(keys.lane, HOUR)
  local placed, converted = total_of(calls, 'public_placed'), total_of(calls, 'public_converted')
  if placed >= policy.lane_floor and converted * 1000 < policy.min_conversion * placed then return true end
  if tonumber(redis.call('HGET', keys.sprayed, 'alert_until') or 0) > now then return true end
  for _, limit in ipairs(request.limits) do
    if limit.name == 'spend' and limit.public_max then
      local spent = read_counter(keys[limit.key], limit.window)
      if total_of(spent, 'public') * 2 >= limit.public_max then return true end
    end
  end
  return false
end

-- Half of the calls that the public lane may place to a phone in the longest of its limits led to no approval.
local function phone_is_abused(unconverted)
  local most = 0
  for _, rate in ipairs(policy.calls_per_phone.public) do most = math.max(most, rate.max) end
  return unconverted * 2 >= most
end

-- The work that is required: a level, which grows with each call to the same phone and from the same network that did not lead to an approval; nil for none.
local function required_level(phone)
  if request.lane ~= 'public' or not request.challenge then return nil end
  local level = unconverted_calls(phone)
  if request.challenge ~= 'always' and not phone_is_abused(level) and not lane_is_abused() then return nil end
  if keys.network then level = level + total_of(read_counter(keys.network, HOUR), 'public') end
  return math.min(policy.max_level, level)
end

local function count_lane(name)
  if keys.lane then count_in(read_counter(keys.lane, HOUR), request.lane .. '_' .. name, 1) end
end
