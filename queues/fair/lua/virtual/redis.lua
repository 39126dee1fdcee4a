-- The virtual wait list, see waiting.lua: what the script sees as `redis`.

local redis = {
  call = shadow,
  -- As redis.pcall: an error is a value.
  pcall = function(...)
    local ok, reply = pcall(shadow, ...)
    if ok then
      return reply
    end
    return type(reply) == 'table' and reply or { err = tostring(reply) }
  end,
  error_reply = redis.error_reply,
  status_reply = redis.status_reply,
}
