-- uses: counters calls idempotency
-- Looks up a request whose idempotency key may have been seen before, while no call can be placed. It reserves nothing.
-- Atomic, because a request that lapses is given its outcome here.
-- keys     phone, request
-- request  lane, address, bodies
-- reply    none | key_reused | key_in_use | replayed {seed, first}
return recall(read_phone(keys.phone)) or reply('none')
