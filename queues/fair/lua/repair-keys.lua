--[[
  repairKeys: takes keys back from jobs that are gone, some at a time.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] cursor, 0 at first   ARGV[3] about how many jobs with keys to look at
  Returns { the next cursor, 0 at the end; keys given back }. Cost: one call, and two for each holder that is not active.
]]
return keys().repairKeys(ARGV[1], ARGV[2], ARGV[3])
