-- What was tried in the last hour against what came to a good end. Works on a hash (keys.py):
--   t  what was tried, g  what came to a good end: parts as in window.lua
-- A rule is told as text, 'floor:share': so much may be tried whatever comes of it, and beyond that as much as keeps the good ends at that share, in
-- thousandths. '' for no rule: nothing is looked at.
local HOUR = 3600000
local KEPT = 14400000

-- Reads a balance from fields that were asked for: t, g.
local function open_balance(key, rule, now, tried, good)
  local floor, share = string.match(rule, '(%d+):(%d+)')
  return {
    key = key, floor = tonumber(floor), share = tonumber(share),
    tried = open_part(tried or '', 1, now, HOUR), good = open_part(good or '', 1, now, HOUR),
  }
end

-- How much may have been tried by now.
local function may_try(balance)
  return balance.floor + math.floor(balance.good.total * 1000 / balance.share)
end

local function keep_balance(balance)
  redis.call('HSET', balance.key, 't', part_text(balance.tried), 'g', part_text(balance.good))
  redis.call('PEXPIRE', balance.key, KEPT)
end

-- Counts one that was tried, or one that came to a good end. The key's life begins anew with each slice: it is much longer than what it counts.
local function count_tried(balance)
  add(balance.tried, 1)
  redis.call('HSET', balance.key, 't', part_text(balance.tried))
  if balance.tried.count == 1 then redis.call('PEXPIRE', balance.key, KEPT) end
end

local function count_good(balance)
  add(balance.good, 1)
  redis.call('HSET', balance.key, 'g', part_text(balance.good))
  if balance.good.count == 1 then redis.call('PEXPIRE', balance.key, KEPT) end
end
