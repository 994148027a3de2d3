#!lua flags=no-writes
-- uses: counters
-- What is suspended, whether the spray alert is on, and what is used of each limit now. A script, so that it is one moment on the server's clock.
-- keys     suspended, sprayed; and those that request.limits name
-- request  limits: {key, window}; max_listed: how many suspended destinations are returned, the soonest to resume first
-- reply    status {alert_until, suspended [{destination, resumes_at}], used [{trusted, public, resets_in}]}
local suspended = {}
local found = redis.call('ZRANGEBYSCORE', keys.suspended, now + 1, '+inf', 'WITHSCORES', 'LIMIT', 0, request.max_listed)
for at = 1, #found, 2 do table.insert(suspended, {destination = found[at], resumes_at = tonumber(found[at + 1])}) end
local used = {}
for _, limit in ipairs(request.limits) do
  local counter = read_counter(keys[limit.key], limit.window)
  local public, trusted = total_of(counter, 'public'), total_of(counter, 'trusted')
  table.insert(used, {public = public, trusted = trusted, resets_in = public + trusted > 0 and wait_for(counter, public + trusted - 1, 'public', 'trusted') or 0})
end
local alert = tonumber(redis.call('HGET', keys.sprayed, 'alert_until') or 0)
return reply('status', {alert_until = alert > now and alert or nil, suspended = suspended, used = used})
