-- uses: clock limits calls verification
-- The whole state of a verification, without its codes. A script, so that it is one moment on the server's clock.
-- KEYS  1 verification  2 phone
-- ARGV  1 client  2 ladder  3 limits
-- ->    {status, now, created, expires, next call, wrong, calls, purpose, approved at} | {'not_found'}
local now = clock()
local status = status_of(KEYS[1], ARGV[1], now)
if not status then return {'not_found'} end
local held = redis.call('HMGET', KEYS[1], 't', 'x', 'w', 'n', 'u', 'z', 'r')
local next_at = now + wait_for_call(KEYS[2], now, numbers_of(ARGV[2]), pairs_of(ARGV[3]), NOBODY)
return {
  status, now, tonumber(held[1]), tonumber(held[2] or held[1]), next_at,
  tonumber(held[3] or 0), tonumber(held[4]) - tonumber(held[7] or 0), held[5] or '', tonumber(held[6] or 0),
}
