-- uses: clock verification
-- Ends a pending verification at its client's word. Atomic, because a check may approve it at the same moment: one of the two comes first.
-- KEYS  1 verification  2 phone
-- ARGV  1 client  2 tombstone, ms
-- ->    {'canceled'} | {'ended', status} | {'not_found'}
local status = status_of(redis.call('HMGET', KEYS[1], 'c', 's', 'x'), ARGV[1], clock())
if not status then return {'not_found'} end
if status ~= 'p' and status ~= 'c' then return {'ended', status} end
if status == 'p' then bury(KEYS[1], 'c', ARGV[2]) end
return {'canceled'}
