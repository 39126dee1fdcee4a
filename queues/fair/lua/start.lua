--[[
  The lean twin of BullMQ's moveToActive for a queue without global limits and with no delayed job due.
  Everything else falls through (`break`) to BullMQ's own script, which follows.

  KEYS, ARGV and the reply are those of moveToActive. BullMQ keeps the time of a delayed job as ms * 4096 + n. Cost: 2 calls plus the claim.
]]
repeat
  local opts = cmsgpack.unpack(ARGV[3])
  local meta = native('HMGET', KEYS[9], 'paused', 'concurrency', 'max', 'fair:due')
  local delayed = tonumber(native('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')[2])
  if opts['limiter'] or meta[2] or meta[3] or (delayed and delayed <= (ARGV[2] + 1) * 0x1000 - 1) then
    break
  end
  if meta[1] then
    return { 0, 0, 0, 0 }
  end
  if meta[4] and isDue(meta[4]) then
    limits().unpark(ARGV[1])
  end
  local next, taken = claimNext(ARGV[1], KEYS[2], KEYS[4], ARGV[2], opts)
  if taken then
    native('ZADD', KEYS[11], 0, '0')
  end
  if next then
    return next
  end
  local due = delayed and delayed / 0x1000
  if native('EXISTS', ARGV[1] .. 'fair:park') == 1 then
    due = limits().nextDue(ARGV[1], ARGV[2], due)
  end
  do
    return { 0, 0, 0, due or 0 }
  end
until true
