-- uses: clock limits calls verification
-- The whole state of a verification, without its codes. A script, so that it is one moment on the server's clock.
-- KEYS  1 verification  2 phone
-- ARGV  1 client  2 ladder  3 limits
-- ->    {status, now, created, expires, next call, wrong, calls, purpose, approved at} | {'not_found'}
local now = clock()
local held = redis.call('HMGET', KEYS[1], 'c', 's', 'x', 't', 'w', 'n', 'u', 'z', 'r')
local status = status_of(held, ARGV[1], now)
if not status then return {'not_found'} end
local next_at = now + wait_for_call(redis.call('HMGET', KEYS[2], 'h', 'l'), now, ARGV[2], ARGV[3], NOBODY)
return {
  status, now, tonumber(held[4]), tonumber(held[3] or held[4]), next_at,
  tonumber(held[5] or 0), tonumber(held[6]) - tonumber(held[9] or 0), held[7] or '', tonumber(held[8] or 0),
}
