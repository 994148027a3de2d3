#!lua flags=allow-oom
-- uses:
-- Moves records from the names that the previous pepper gave them to those of the pepper in force. Atomic, because many requests find the same record.
-- Runs in a full store: nothing gets larger, and a check may need the record.
-- keys     pairs, old and new, in the order of request.keys: old_1, new_1, old_2, new_2, …
-- request  keys
-- reply    adopted
for pair = 1, #request.keys / 2 do
  if redis.call('EXISTS', keys['old_' .. pair]) == 1 then redis.call('RENAMENX', keys['old_' .. pair], keys['new_' .. pair]) end
end
return reply('adopted')
