-- uses: clock limits calls once
-- Tells what became of a request whose idempotency key lies under the pepper before this one. Atomic, because the first who asks after one that was never
-- finished settles what all are told.
-- KEYS  1 phone  2 record of the idempotency key
-- ARGV  1 digest of the request's body  2 ladder  3 limits  (as in start.lua)
-- ->    nil, if the key was never used | as recall() of lib/once.lua
return recall(KEYS[2], ARGV[1], KEYS[1], clock(), ARGV[2], ARGV[3], NOBODY) or false
