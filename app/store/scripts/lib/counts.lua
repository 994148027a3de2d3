-- What a call counts for besides its phone: its address, its client, and the money. For scripts with the KEYS and ARGV 1 to 13 of start.lua.
local function open_counts(now)
  local price = tonumber(ARGV[10])
  return open_windows(now, {
    {KEYS[4], ARGV[5], 'starts_per_ip'}, {KEYS[5], ARGV[6], 'starts_per_client'},
    {KEYS[6], ARGV[11], 'spend', price}, {KEYS[7], ARGV[12], 'spend_client', price}, {KEYS[8], ARGV[13], 'spend_country', price},
  })
end
