--[[
  The lean twin of BullMQ's moveToActive for a queue without global limits and with no delayed job due.
  Everything else falls through (`break`) to BullMQ's own script, which follows.

  KEYS, ARGV and the reply are those of moveToActive. BullMQ keeps the time of a delayed job as ms * 4096 + n. Cost: 2 calls plus the claim.
]]
repeat
  local opts = cmsgpack.unpack(ARGV[3])
  local meta = native('HMGET', KEYS[9], 'paused', 'concurrency', 'max')
  local delayed = tonumber(native('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')[2])
  if opts['limiter'] or meta[2] or meta[3] or (delayed and delayed <= (ARGV[2] + 1) * 0x1000 - 1) then
    break
  end
  if meta[1] then
    return { 0, 0, 0, 0 }
  end
  local next, taken = claimNext(ARGV[1], KEYS[2], KEYS[4], ARGV[2], opts)
  if taken then
    native('ZADD', KEYS[11], 0, '0')
  end
  do
    return next or { 0, 0, 0, delayed and delayed / 0x1000 or 0 }
  end
until true
