--[[
  Part of a transaction that may turn out to have been here before (LeanBackend.beginTransaction): a job whose id, or `*`, is
  a field of the transaction's hash of marks is left out, before anything is written.

  ARGV[4] that hash; not there in an add of its own, which pays nothing. Returns -130.
]]
if ARGV[4] then
  local marks = native('HMGET', ARGV[4], '*', cmsgpack.unpack(ARGV[1])[2])
  if marks[1] or marks[2] then
    return -130
  end
end
