--[[
  Adds what a handler wrote to its job's own stream, and tells those who follow the job. Nobody who does not listen is told:
  a note costs every process that follows any job of the shard.

  KEYS[1] stream of the job
  KEYS[2] exists while somebody follows the job
  KEYS[3] notes of the shard
  ARGV[1] kind of entry
  ARGV[2] the entry's JSON
  ARGV[3] entries the stream keeps
  ARGV[4] ms after which it goes unless more is written
  ARGV[5] id of the job

  Returns the entry's id. Cost: O(1).
]]
local stream, followed, notes = KEYS[1], KEYS[2], KEYS[3]
local kind, json, most, keepMs, jobId = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local NOTES = 1000
local NOTES_KEEP_MS = 60000

local id = redis.call('XADD', stream, 'MAXLEN', most, '*', 'kind', kind, 'json', json)
redis.call('PEXPIRE', stream, keepMs)
if redis.call('EXISTS', followed) == 1 then
  redis.call('XADD', notes, 'MAXLEN', '~', NOTES, '*', 'event', 'written', 'jobId', jobId)
  redis.call('PEXPIRE', notes, NOTES_KEEP_MS)
end
return id
