-- uses: clock
-- What the watches stand at. A script, so that it is one moment on the server's clock.
-- KEYS  1 list of what is closed (guard.lua)  2 verifications that were guessed at, of all phones (check.lua)
-- ARGV  1 how many of what is closed are told at most, soonest open first
-- ->    {now, when the alarm ends (0: there is none), {destination, until, destination, until, …}}
local now = clock()
local alarm = tonumber(redis.call('HGET', KEYS[2], 'u') or 0)
local closed = redis.call('ZRANGEBYSCORE', KEYS[1], now + 1, '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[1]))
return {now, alarm > now and alarm or 0, closed}
