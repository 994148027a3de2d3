-- uses: clock
-- Adds digests of codes to the samples that recurrences are counted in, and gives these back. Atomic, because many workers add to one sample.
-- KEYS  1, 2, 3 samples of codes of 4, 5 and 6 digits: digests of 4 bytes, the oldest first (keys.py)
-- ARGV  1, 2, 3 digests to add to them, '' for none  4 most bytes of a sample  5 how long a sample is kept after its last code, ms
-- ->    {sample, sample, sample}
local samples, most = {}, tonumber(ARGV[4])
for length, key in ipairs(KEYS) do
  local held = redis.call('GET', key) or ''
  if ARGV[length] ~= '' then
    held = string.sub(held .. ARGV[length], -most)
    redis.call('SET', key, held, 'PX', ARGV[5])
  end
  samples[length] = held
end
return samples
