"""Time that passes without anyone waiting: the times in a store move back, the server's clock stays.

One Lua script knows every record that holds a time (app/store/keys.py), so that no request runs between two of them.
"""

from typing import Any

from app.store.keys import Names
from app.verification.ids import VerificationRef

_OLDER = """
local keys, by, before, after = KEYS, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[4] then keys = redis.call('KEYS', ARGV[4] .. '*') end

local function earlier(at) return string.format('%d', math.floor(at) - by) end

-- The window of a counter stands at the end of its key; of those that have none there it is an hour, and of guesses a day.
local function window_of(key)
  local seconds = string.match(key, ':(%d+)$')
  if seconds and #seconds <= 6 then return tonumber(seconds) end
  local day = string.match(key, '[:}]guesses:') or string.match(key, '[:}]verification:')
  return day and 86400 or 3600
end

local function slices_of(key)
  local seconds = window_of(key)
  return math.floor(after * 12 / (seconds * 1000)) - math.floor(before * 12 / (seconds * 1000))
end

local TIMES = {created_at = true, expires_at = true, approved_at = true, redeemed_at = true, busy_until = true, alert_until = true}

local function move_field(key, field, value)
  local call, hold, number = string.match(field, '^call:(%d+)$'), string.match(field, '^hold:'), string.match(field, '^call_%d+$')
  local name, slice = string.match(field, '^([%a_]+):(%d+)$')
  if call then
    redis.call('HDEL', key, field)
    return 'call:' .. earlier(call), value
  elseif hold then
    local held = cjson.decode(value)
    held.ends_at = tonumber(earlier(held.ends_at))
    return field, cjson.encode(held)
  elseif number then
    local at, rest = string.match(value, '^(%d+)(:.*)$')
    return field, earlier(at) .. rest
  elseif slice then
    redis.call('HDEL', key, field)
    return name .. ':' .. string.format('%d', slice - slices_of(key)), value
  elseif TIMES[field] or string.match(field, '_suspended_until$') or string.match(field, '_last_trial$') then
    return field, earlier(value)
  end
  return field, value
end

local function move_hash(key)
  local found, moved = redis.call('HGETALL', key), {}
  for at = 1, #found, 2 do
    local field, value = move_field(key, found[at], found[at + 1])
    table.insert(moved, field)
    table.insert(moved, value)
  end
  for at = 1, #moved, 200 do redis.call('HSET', key, unpack(moved, at, math.min(at + 199, #moved))) end
end

for _, key in ipairs(keys) do
  local left, kind = redis.call('PTTL', key), redis.call('TYPE', key).ok
  if left >= 0 and left <= by then
    redis.call('DEL', key)
  elseif left > by then
    if kind == 'hash' then move_hash(key) end
    if kind == 'zset' then
      for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -by, member) end
    end
    redis.call('PEXPIRE', key, left - by)
  end
end
"""


async def make_older(client: Any, names: Names, seconds: float, ref: VerificationRef) -> None:
    """Move the records of one verification and of its phone."""
    keys = names.verification(ref).values()
    by = round(seconds * 1000)
    await client.eval(_OLDER, len(keys), *keys, by, 0, by)


class PassingTime:
    """Moves all that a deployment keeps. Counters move by whole slices: what is too little for one counts for the next time."""

    def __init__(self, client: Any, prefix: str, passed: int = 0) -> None:
        self._client, self._prefix, self.passed = client, prefix, passed

    async def __call__(self, seconds: float) -> None:
        """As if so much time had passed."""
        by = round(seconds * 1000)
        await self._client.eval(_OLDER, 0, by, self.passed, self.passed + by, self._prefix)
        self.passed += by
