--[[
  Lines of a job's log after one that was seen, oldest first. One script, because lines may be dropped from the front
  between finding a line and reading on from it; so a line is known by its time, which its handler's process uses once only,
  and its place is where to look first.

  KEYS[1] log: LIST of `<time> <line>`
  ARGV[1] time of the last line seen, or '' to start at the oldest
  ARGV[2] its index when it was seen; it can only be lower now
  ARGV[3] how many to return at most

  Returns the index of the first line returned, then the lines. A line that is gone was older than all that are left.
  Cost: O(count + lines dropped since).
]]
local log = KEYS[1]
local time, index, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local STEP = 50

local function placeOf(seen, last)
  while last >= 0 do
    local first = math.max(last - STEP + 1, 0)
    local lines = redis.call('LRANGE', log, first, last)
    for i = #lines, 1, -1 do
      if string.sub(lines[i], 1, #seen) == seen then return first + i - 1 end
    end
    last = first - 1
  end
  return -1
end

local from = 0
if time ~= '' then from = placeOf(time .. ' ', index) + 1 end
local page = redis.call('LRANGE', log, from, from + count - 1)
table.insert(page, 1, tostring(from))
return page
