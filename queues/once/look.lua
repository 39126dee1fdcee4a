--[[
  What is known of a request: the first part of a transaction that adds its jobs, or a look of its own.

  KEYS[1] record: HASH f, o, l, a; see Keys.tenantOnce
  KEYS[2] marks of the transaction
  ARGV[1] '1' in a transaction: when there is a record, nothing is added

  Returns false when there is none, else { fingerprint, outcomes, answer or '', ms for which it is still being answered }.
  Cost: one HMGET, and TIME while there is no answer.
]]
local record, marks, inTransaction = KEYS[1], KEYS[2], ARGV[1] == '1'

local known = redis.call('HMGET', record, 'f', 'o', 'a', 'l')
if not known[1] then
  return false
end
if inTransaction then
  redis.call('HSET', marks, '*', '1')
end
if known[3] or not known[4] then
  return { known[1], known[2], known[3] or '', 0 }
end
local time = redis.call('TIME')
local left = tonumber(known[4]) - (time[1] * 1000 + math.floor(time[2] / 1000))
return { known[1], known[2], '', math.max(0, left) }
