-- A job that must not wait for another of its key is refused before anything is written; see keys.lua. Returns -120.
if string.find(ARGV[3], 'keyStrategy', 1, true) then
  local args, group = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[3])['group']
  local isNew = args[2] == '' or native('EXISTS', args[1] .. args[2]) == 0
  if isNew and type(group) == 'table' and type(group['key']) == 'string' and group['keyStrategy'] == 'reject'
    and keys().isBusy(args[1], group['id'], { key = group['key'], keyLimit = group['keyLimit'] }) then
    return -120
  end
end
