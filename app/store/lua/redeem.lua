-- uses:
-- Redeems the token of an approved verification. Atomic, because of many requests at once one is answered with yes. What an approval leaves behind lives as
-- long as its token. Where it is gone, the server lost it, and no one can know whether the token was redeemed: then it is not.
-- keys     verification
-- request  expires_at (of the token, unix ms)
-- reply    redeemed {approved_at, purpose} | again | expired
local verification = read_hash(keys.verification)
if verification.status ~= 'approved' or now >= request.expires_at then return reply('expired') end
if verification.redeemed_at then return reply('again') end
redis.call('HSET', keys.verification, 'redeemed_at', now)
return reply('redeemed', {approved_at = tonumber(verification.approved_at), purpose = verification.purpose})
