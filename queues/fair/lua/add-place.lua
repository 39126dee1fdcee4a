-- The second half of add.lua; see there.
if unplaced == 'blocked' then
  local _, spec = groupOfOptions(ARGV[5])
  if keys().admit(base, group, jobId, score, spec) then
    local q = base .. QUEUE .. group
    native('ZADD', q, score, jobId)
    unplaced = native('ZCARD', q) == 1 and 'first'
  end
elseif unplaced == 'again' then
  place(base, group, jobId, score)
end
if unplaced == 'first' then
  local mayRun, tell = enterRing(base, group)
  if mayRun and tell and not meta[1]
    and not (meta[2] and native('LLEN', base .. 'active') >= tonumber(meta[2])) then
    native('ZADD', base .. 'marker', '0', '0')
  end
end
return jobId
