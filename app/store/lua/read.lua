-- uses: counters calls verification
-- The whole state of a verification, without its codes. A script, so that it is one moment on the server's clock.
-- keys     verification, phone
-- request  client, ref
-- reply    found {the state} | not_found
local verification = read_hash(keys.verification)
if not status_of(verification) then return reply('not_found') end
local phone = read_phone(keys.phone)
return reply('found', state_of(verification, now + shown_wait(phone, verification.lane, '')))
