-- The group a job belongs to, by its stored options: '' for an ungrouped job, nil when the job's hash is gone. Also the
-- whole option, when it names a key.
local function groupOfOptions(options)
  if not options then
    return nil
  end
  local group = string.find(options, '"group"', 1, true) and cjson.decode(options)['group']
  if type(group) ~= 'table' or type(group['id']) ~= 'string' then
    return ''
  end
  return group['id'], type(group['key']) == 'string' and group or nil
end
