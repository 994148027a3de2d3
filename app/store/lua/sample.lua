-- uses:
-- Adds digests of codes to the samples that recurrences are counted in, and returns these. Atomic, because many workers add to one sample.
-- keys     codes_4, codes_5, codes_6: digests in hex, the oldest first
-- request  added: digests in hex, by the codes' length
-- reply    samples {by length}
local samples = {}
for _, digits in ipairs({'4', '5', '6'}) do
  local key, added = keys['codes_' .. digits], request.added[digits]
  local held = redis.call('GET', key) or ''
  if added then
    held = string.sub(held .. added, -policy.sample_characters)
    redis.call('SET', key, held, 'PX', policy.sample_lifetime)
  end
  samples[digits] = held
end
return reply('samples', {samples = samples})
