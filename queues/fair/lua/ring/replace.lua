-- The ring, see base.lua: how a job gets another place.

-- Gives a job that is in its group's queue already another place; its kind has been counted once more.
local function place(base, group, jobId, score)
  local q = base .. QUEUE .. group
  countTaken(base, native('ZSCORE', q, jobId))
  native('ZADD', q, score, jobId)
end
