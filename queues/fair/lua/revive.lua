--[[
  Before BullMQ's reprocessJob: a failed job that is to wait again is none that never was here. Its number of starts stays,
  so that it goes on growing, and so that no strategy of its key applies; see isNewcomer in ring/keys.lua. Workers it lost
  (stc) are forgiven, else the next one it loses would end it.

  KEYS and ARGV are those of reprocessJob, and ARGV[7]: its new data, or ''. Returns what reprocessJob returns.
]]
if native('ZSCORE', KEYS[3], ARGV[1]) and native('EXISTS', KEYS[1]) == 1 then
  native('HSETNX', KEYS[1], 'ats', '0')
  native('HDEL', KEYS[1], 'defa', 'stc')
  if ARGV[7] ~= '' then
    native('HSET', KEYS[1], 'data', ARGV[7])
  end
end
