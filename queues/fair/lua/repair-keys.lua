--[[
  repairKeys: takes keys back from jobs that are gone, some at a time.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] cursor, 0 at first
  ARGV[3] about how many keys, or jobs with keys, to look at   ARGV[4] bk for the keys for which jobs wait, kj for all jobs
  Returns { the next cursor, 0 at the end; keys given back }. Cost: two calls, two for each holder that is not active, and one
  for each key that is waited for.
]]
return keys().repairKeys(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
