-- How limits are told to a script: '5:3600000,10:86400000' for 5 an hour and 10 a day; a ladder as '30000,60000'.
local function pairs_of(text)
  local list = {}
  for count, span in string.gmatch(text, '(%d+):(%d+)') do list[#list + 1] = {tonumber(count), tonumber(span)} end
  return list
end

local function numbers_of(text)
  local list = {}
  for number in string.gmatch(text, '%d+') do list[#list + 1] = tonumber(number) end
  return list
end
