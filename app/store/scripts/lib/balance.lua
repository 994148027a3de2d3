-- What was tried in the last hour against what came to a good end. Works on a hash (keys.py):
--   t  what was tried, g  what came to a good end: parts as in window.lua
-- A rule is told as text, 'floor:share': so much may be tried whatever comes of it, and beyond that as much as keeps the good ends at that share, in
-- thousandths. '' for no rule: nothing is looked at.
local HOUR = 3600000
local KEPT = 14400000

local function open_balance(key, rule, now)
  local floor, share = string.match(rule, '(%d+):(%d+)')
  local held = redis.call('HMGET', key, 't', 'g')
  return {
    key = key, floor = tonumber(floor), share = tonumber(share),
    tried = open_part(held[1] or '', 1, now, HOUR), good = open_part(held[2] or '', 1, now, HOUR),
  }
end

-- How much may have been tried by now.
local function may_try(balance)
  return balance.floor + math.floor(balance.good.total * 1000 / balance.share)
end

-- Adds to one of its two parts, 'tried' or 'good'.
local function add_to(balance, which, amount)
  local part = balance[which]
  part[1], part.total = part[1] + amount, part.total + amount
end

local function keep_balance(balance)
  redis.call('HSET', balance.key, 't', part_text(balance.tried, HOUR), 'g', part_text(balance.good, HOUR))
  redis.call('PEXPIRE', balance.key, KEPT)
end
