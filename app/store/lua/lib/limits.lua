-- The limits that a call counts against, besides its phone's. Each is
--   {name, place, key, window, max, public_max, by_lane, unit, quota}
-- key names the counter; place is its position among the limits of that name; unit 'money' counts the price, else calls. A limit with public_max is
-- shared by the two lanes: the public lane may use that much of it, the trusted lane what is left. One by_lane allows each lane max. Without max it only
-- counts.
local function names_of(limit, lane)
  if limit.by_lane then return {lane} end
  return {'public', 'trusted'}
end

local function wait_for_limit(limit, counter, lane, amount)
  if not limit.max then return 0 end
  local wait = 0
  local names = names_of(limit, lane)
  if total_of(counter, unpack(names)) + amount > limit.max then wait = wait_for(counter, limit.max - amount, unpack(names)) end
  if lane == 'public' and limit.public_max and total_of(counter, 'public') + amount > limit.public_max then
    wait = math.max(wait, wait_for(counter, limit.public_max - amount, 'public'))
  end
  return wait
end

local function open_limits(limits, lane)
  local opened = {lane = lane}
  for _, limit in ipairs(limits) do
    table.insert(opened, {limit = limit, counter = read_counter(keys[limit.key], limit.window), amount = 1})
  end
  return opened
end

-- What the next call reserves: the expected price, or the price that was lately seen if that is higher.
local function reserve_price(opened)
  local seen = redis.call('GET', keys.price)
  opened.price, opened.price_unknown = math.max(policy.expected_price, tonumber(seen or 0)), not seen
  for _, each in ipairs(opened) do
    if each.limit.unit == 'money' then each.amount = opened.price end
  end
end

-- A call that was reserved while no price was seen may cost ten times what is expected; once one was seen, that much. Whether the next call must wait
-- until such calls show their price: calls that are placed at once must not exceed a cap, whatever they cost. One call alone need not wait.
local function price_is_pending(opened)
  local under_way = opened.price and redis.call('HLEN', keys.pricing) or 0
  if under_way == 0 then return false end
  local worst = opened.price_unknown and policy.unknown_price or opened.price
  local risk = worst + under_way * (worst - policy.expected_price)
  for _, each in ipairs(opened) do
    if each.limit.unit == 'money' and wait_for_limit(each.limit, each.counter, opened.lane, risk) > 0 then return true end
  end
  return false
end

-- The reply to a call that a limit denies, by the limit that denies it for the longest time; nil if all allow it.
local function limits_deny(opened)
  local longest, denied = 0, nil
  for _, each in ipairs(opened) do
    local wait = wait_for_limit(each.limit, each.counter, opened.lane, each.amount)
    if wait > longest then longest, denied = wait, each end
  end
  if not denied then return price_is_pending(opened) and reply('price_pending') or nil end
  local limit, used = denied.limit, total_of(denied.counter, 'public', 'trusted')
  return reply('limited', {
    limit = limit.name, place = limit.place, wait = longest, window = limit.window, max = limit.max, used = used, by_share = used + denied.amount <= limit.max,
  })
end

-- call: its name while it is under way.
local function count_limits(opened, call)
  for _, each in ipairs(opened) do count_in(each.counter, opened.lane, each.amount) end
  if opened.price_unknown then
    redis.call('HSET', keys.pricing, call, 'yes')
    redis.call('PEXPIRE', keys.pricing, policy.call_deadline)
  end
end

-- What the caller's own limits still allow, when the call is counted.
local function quotas_of(opened)
  local quotas = {}
  for _, each in ipairs(opened) do
    if each.limit.quota then
      local max, names = each.limit.max, names_of(each.limit, opened.lane)
      if opened.lane == 'public' and each.limit.public_max then
        local left_of_all = max - total_of(each.counter, unpack(names))
        local left_of_share = each.limit.public_max - total_of(each.counter, 'public')
        if left_of_share < left_of_all then max, names = each.limit.public_max, {'public'} end
      end
      local used = total_of(each.counter, unpack(names))
      table.insert(quotas, {
        limit = each.limit.name, place = each.limit.place, left = math.max(0, max - used), reset = wait_for(each.counter, used - 1, unpack(names)),
      })
    end
  end
  return quotas
end

-- Corrects what a call cost, in the counters of money that it was reserved in.
local function correct_money(limits, lane, at, difference)
  for _, limit in ipairs(limits) do
    if limit.unit == 'money' then correct(keys[limit.key], limit.window, lane, at, difference) end
  end
end
