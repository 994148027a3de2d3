-- Has a key live for so long at least, in ms: it may have to live for longer already. One command, of 0.9 µs, where it has to live on, as most do;
-- the second is for a key that was just made.
local function live_on(key, ms)
  if redis.call('PEXPIRE', key, ms, 'GT') == 0 then redis.call('PEXPIRE', key, ms, 'NX') end
end
