-- One verification's hash (keys.py):
--   c  client     u  purpose        t  created     x  expires      z  approved   (times: unix ms)
--   s  r = its first call is being placed, p = pending, a = approved, l = locked, c = canceled, f = failed
--   n  calls that were reserved: their numbers are never used again     r  how many of them were refused     k  the last that settled
--   w  wrong guesses     q  what they have cost (guesses.lua)     y  redeemed     d, e  digests of the last code and of the one before it
-- Its status for its own client, or nil: unknown, another client's, or not yet placed (nobody was told its id).
-- held: what HMGET tells of 'c', 's', 'x', and of whatever else the script needs: one call for all.
local function status_of(held, client, now)
  if held[1] ~= client or held[2] == 'r' then return nil end
  if held[2] == 'p' and tonumber(held[3]) <= now then return 'x' end
  return held[2]
end

-- Ends a verification: its codes go, and a tombstone stays for a while.
local function bury(key, status, tombstone)
  redis.call('HSET', key, 's', status)
  redis.call('HDEL', key, 'd', 'e')
  redis.call('PEXPIRE', key, tombstone)
end
