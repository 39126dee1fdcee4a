-- The second half of add.lua for a job whose group enters the ring, or whose id was in its queue already.
if unplaced then
  if not unplaced.isNew then
    place(unplaced.base, unplaced.group, unplaced.jobId, unplaced.score)
  else
    if enterRing(unplaced.base, unplaced.group) and not unplaced.paused then
      native('ZADD', MARKER, 0, '0')
    end
  end
  return unplaced.jobId
end
