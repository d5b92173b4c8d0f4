-- Takes all members of one holder out of a room. Answers {epoch, emptied 0 or 1, holders as JSON, id and version of each leave
-- in turn}, or false when there is none of it.
-- KEYS: the room, its tombstones' prefix. ARGV: the holder, lobby channel, room's name, ttl of a tombstone in ms
local room, tombstone = KEYS[1], KEYS[2]
local holder, lobby, name, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local fields = redis.call('HGETALL', room)
local epoch, version, holders
local leaves = {}
local gone = {}
for i = 1, #fields, 2 do
  local field, value = fields[i], fields[i + 1]
  if field == '#epoch' then epoch = value
  elseif field == '#version' then version = tonumber(value)
  elseif field == '#instances' then holders = cjson.decode(value)
  elseif string.match(value, '^%d+ %d+ (%S+) ') == holder then gone[#gone + 1] = field end
end
if #gone == 0 then return false end
for _, id in ipairs(gone) do
  redis.call('HDEL', room, id)
  version = version + 1
  leaves[#leaves + 1] = id
  leaves[#leaves + 1] = version
end
holders[holder] = nil
if next(holders) == nil then
  redis.call('DEL', room)
  redis.call('SET', tombstone .. ':' .. epoch, string.format('%d last_member_left %s', version, gone[#gone]), 'PX', ttl)
  redis.pcall('PUBLISH', lobby, cjson.encode({ type = 'room_disbanded', room = name, epoch = epoch, reason = 'last_member_left' }))
  return { epoch, 1, '{}', leaves }
end
redis.call('HSET', room, '#version', version, '#instances', cjson.encode(holders))
return { epoch, 0, cjson.encode(holders), leaves }
