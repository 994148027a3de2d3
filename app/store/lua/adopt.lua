#!lua flags=allow-oom
-- uses:
-- Moves records from the names that the previous pepper gave them to those of the pepper in force. Atomic, because many requests find the same record.
-- Runs in a full store: nothing gets larger, and a check may need the record.
-- keys     those that the script after it has, by their names, and as old_NAME what each was called
-- request  nothing more
-- reply    adopted
for name, key in pairs(keys) do
  local old = keys['old_' .. name]
  if old and redis.call('EXISTS', old) == 1 then redis.call('RENAMENX', old, key) end
end
return reply('adopted')
