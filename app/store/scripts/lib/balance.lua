-- What was tried in the last hour against what came to a good end. Works on a hash (keys.py):
--   t  what was tried, g  what came to a good end: parts as in window.lua     u  until when it is closed, or the alarm lasts (unix ms)
-- A rule is told as a limit is (limits.lua): so much may be tried whatever comes of it, and beyond that as much as keeps the good ends at a share, in
-- thousandths. '' for no rule: nothing is looked at.
local HOUR = 3600
local KEPT = 14400000 + 300000 -- 4 h from whatever is counted in a slice, of 5 min, that has begun

local function open_balance(key, rule, now)
  local held = redis.call('HMGET', key, 't', 'g', 'u')
  return {key = key, rule = rule, now = now, t = held[1] or '', g = held[2] or '', closed = held[3] and tonumber(held[3])}
end

-- Whether so many more may be tried.
local function has_room(balance, more)
  local floor, share = limit_at(balance.rule, 1)
  local _, tried = counted(balance.t, 1, HOUR, balance.now, 0)
  if tried + more <= floor then return true end
  local _, good = counted(balance.g, 1, HOUR, balance.now, 0)
  return tried + more <= floor + math.floor(good * 1000 / share)
end

-- Counts one more, of what was tried: 't', or came to a good end: 'g'. The hash's other fields live on with it.
local function count_to(balance, which)
  local part, _, begun = counted(balance[which], 1, HOUR, balance.now, 1)
  balance[which] = part
  redis.call('HSET', balance.key, which, part)
  if begun then redis.call('PEXPIRE', balance.key, KEPT) end
end
