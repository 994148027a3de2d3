-- Every script begins with this part: its two arguments, its keys by name, the server's clock, and the reply.
--   policy   the rules, made once for the process
--   request  this call; request.keys lists the names of KEYS in their order, request.not_after is when its caller stops waiting (unix ms)
-- What does not exist is left out of both.
local policy, request = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local keys = {}
for position, name in ipairs(request.keys) do keys[name] = KEYS[position] end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function reply(outcome, fields)
  fields = fields or {}
  fields.outcome, fields.now = outcome, now
  return cjson.encode(fields)
end

local function read_hash(key)
  local record, fields = {}, redis.call('HGETALL', key)
  for at = 1, #fields, 2 do record[fields[at]] = fields[at + 1] end
  return record
end

-- The caller stopped waiting and answered that nothing was done. So nothing is done.
if now > request.not_after then return reply('too_late') end
