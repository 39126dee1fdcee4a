--[[
  wake: has workers look at a queue in which something waits, as what kept it may be over.

  KEYS[1] <base>fair:idx   KEYS[2] <base>marker   Cost: 2 calls.
]]
if native('EXISTS', KEYS[1]) == 1 then
  native('ZADD', KEYS[2], '0', '0')
end
