--[[
  Keeps the answer of a request, unless one is kept already: the first one counts.

  KEYS[1] record
  ARGV[1] the answer; '' when there will be none, so that a repeat need not wait

  Returns the answer that is kept, '' without a record or an answer. Cost: two or three calls.
]]
local record, answer = KEYS[1], ARGV[1]
local known = redis.call('HMGET', record, 'f', 'a')
if not known[1] then
  return ''
end
if not known[2] then
  redis.call('HDEL', record, 'l')
  if answer ~= '' then
    redis.call('HSET', record, 'a', answer)
  end
end
return known[2] or answer
