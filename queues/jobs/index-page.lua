--[[
  The entries of a tenant's index that come after a cursor, newest first. One script, because an entry dropped between
  finding the cursor's place and reading from it would make the reader skip another one.

  KEYS[1] index: ZSET, member = job id, score = creation in ms
  ARGV[1] score of the last entry seen, or '' to start at the newest
  ARGV[2] its member
  ARGV[3] how many to return at most

  Returns member, score, member, score, ... Cost: O(log n + count); when the cursor's entry is gone, entries of the same
  millisecond are passed over too.
]]
local index = KEYS[1]
local score, member, count = ARGV[1], ARGV[2], tonumber(ARGV[3])

if score == '' then
  return redis.call('ZREVRANGE', index, 0, count - 1, 'WITHSCORES')
end

local rank = redis.call('ZREVRANK', index, member)
if not rank then
  -- Its place: after all that are newer, and after those of its millisecond that sort higher.
  rank = redis.call('ZCOUNT', index, '(' .. score, '+inf') - 1
  local same = redis.call('ZREVRANGEBYSCORE', index, score, score)
  for i = 1, #same do
    if same[i] < member then break end
    rank = rank + 1
  end
end
return redis.call('ZREVRANGE', index, rank + 1, rank + count, 'WITHSCORES')
