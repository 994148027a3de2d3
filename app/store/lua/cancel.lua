-- uses: verification
-- Ends a pending verification on its client's request. Atomic, because a check may approve it at the same moment: one of the two comes first.
-- keys     verification, phone
-- request  client, ref
-- reply    canceled | ended {status} | not_found
local status = status_of(read_hash(keys.verification))
if not status then return reply('not_found') end
if status ~= 'pending' and status ~= 'canceled' then return reply('ended', {status = status}) end
if status == 'pending' then bury('canceled') end
return reply('canceled')
