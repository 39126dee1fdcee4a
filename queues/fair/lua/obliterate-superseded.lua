--[[
  Before BullMQ's obliterate: jobs that newer ones of their key have superseded, and that no sweep has recorded yet, are in
  none of BullMQ's states. They go as delayed ones do, which the script that follows removes with all that hangs on
  them. Otherwise a new queue, whose ids begin at 1 again, would have a job of such an id failed by the sweep.

  KEYS and ARGV are those of obliterate; the conditions under which it does anything are, too. At most ARGV[1] of them.
]]
if native('HEXISTS', KEYS[1], 'paused') == 1 and (ARGV[2] ~= '' or native('EXISTS', KEYS[2] .. 'active') == 0) then
  local superseded = KEYS[2] .. 'fair:superseded'
  for _, jobId in ipairs(native('ZRANGE', superseded, 0, ARGV[1] - 1)) do
    if native('HEXISTS', KEYS[2] .. jobId, 'sup') == 1 then
      native('ZADD', KEYS[2] .. 'delayed', '0', jobId)
    end
    native('ZREM', superseded, jobId)
  end
end
