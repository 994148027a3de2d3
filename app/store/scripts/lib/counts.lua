-- What a call counts for besides its phone: its address, its client, all calls, and the money. For scripts with the KEYS and ARGV 1 to 17 of start.lua.
local TOLD = {calls_per_ip = true, calls_per_client = true}

local function open_counts(now)
  local price, windows = tonumber(ARGV[12]), {now = now, wait = 0}
  open_window(windows, KEYS[4], ARGV[6], 'calls_per_ip', 1)
  open_window(windows, KEYS[5], ARGV[7], 'calls_per_client', 1)
  open_window(windows, KEYS[6], ARGV[8], 'calls_total', 1)
  open_window(windows, KEYS[7], ARGV[13], 'spend', price)
  open_window(windows, KEYS[8], ARGV[14], 'spend_client', price)
  open_window(windows, KEYS[9], ARGV[15], 'spend_country', price)
  return windows
end
