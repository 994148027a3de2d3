-- uses: clock
-- Redeems the proof of an approved verification. Atomic, because of many who ask at once one is told yes. What an approval leaves behind lives as long as
-- its proof; where it is gone, the server has lost it, and nobody can tell whether the proof was redeemed: then it is not.
-- KEYS  1 verification  2 phone
-- ARGV  1 when the proof expires, unix ms
-- ->    {'redeemed', approved at, purpose} | {'again'} | {'expired'}
local now = clock()
local held = redis.call('HMGET', KEYS[1], 's', 'z', 'u', 'y')
if held[1] ~= 'a' or now >= tonumber(ARGV[1]) then return {'expired'} end
if held[4] then return {'again'} end
redis.call('HSET', KEYS[1], 'y', now)
return {'redeemed', tonumber(held[2]), held[3] or ''}
