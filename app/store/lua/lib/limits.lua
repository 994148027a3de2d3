-- The limits that a call counts against, besides its phone's. Each is
--   {name, place, key, window, max, public_max, unit, quota}
-- key names the counter; place is its position among the limits of that name; unit 'money' counts the price, else calls. A limit with public_max is
-- shared by the two lanes: the public lane may use that much of it, the trusted lane what is left. Without max it only counts.
local function wait_for_limit(limit, counter, lane, amount)
  if not limit.max then return 0 end
  local wait = 0
  if total_of(counter, 'public', 'trusted') + amount > limit.max then
    wait = wait_for(counter, limit.max - amount, 'public', 'trusted')
  end
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

-- What the next call reserves: the expected price, or the price that was lately seen if that is higher. While none was seen, it reserves ten times the
-- expected price: calls that are placed at once must not exceed a cap, whatever the first of them turns out to cost. Where there is less money, a call
-- is placed only if no other is under way that may cost so much: it reserves what there is.
local function reserve_price(opened)
  local seen = tonumber(redis.call('GET', keys.price) or nil)
  local price, free = math.max(policy.expected_price, seen or policy.unknown_price), math.huge
  for _, each in ipairs(opened) do
    if each.limit.unit == 'money' then
      free = math.min(free, each.limit.max - total_of(each.counter, 'public', 'trusted'))
      if opened.lane == 'public' then free = math.min(free, each.limit.public_max - total_of(each.counter, 'public')) end
    end
  end
  opened.price_unknown = not seen
  opened.price_pending = not seen and free < price and redis.call('EXISTS', keys.pricing) == 1
  if not seen then price = math.max(policy.expected_price, math.min(price, free)) end
  for _, each in ipairs(opened) do
    if each.limit.unit == 'money' then each.amount = price end
  end
  opened.price = price
end

-- The reply to a call that a limit denies, by the limit that denies it for the longest time; nil if all allow it.
local function limits_deny(opened)
  local longest, denied = 0, nil
  for _, each in ipairs(opened) do
    local wait = wait_for_limit(each.limit, each.counter, opened.lane, each.amount)
    if wait > longest then longest, denied = wait, each end
  end
  -- Money that calls under way reserved may come back in a moment.
  if opened.price_pending and (not denied or denied.limit.unit == 'money') then return reply('price_pending') end
  if not denied then return nil end
  local limit, used = denied.limit, total_of(denied.counter, 'public', 'trusted')
  return reply('limited', {
    limit = limit.name, place = limit.place, wait = longest, window = limit.window, max = limit.max, used = used, by_share = used + denied.amount <= limit.max,
  })
end

-- call: its name, under which the price of a call under way is waited for.
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
      local used = total_of(each.counter, 'public', 'trusted')
      table.insert(quotas, {
        limit = each.limit.name, place = each.limit.place, left = math.max(0, each.limit.max - used),
        reset = wait_for(each.counter, used - 1, 'public', 'trusted'),
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
