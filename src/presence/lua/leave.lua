-- Takes a member out of a room. Answers {epoch, version, emptied 0 or 1, holders as JSON}, or false when it is not in it.
-- KEYS: the room, its tombstones' prefix. ARGV: connection_id, the epoch and the version of the room that it leaves, lobby
-- channel, room's name, ttl of a tombstone in ms
local room, tombstone = KEYS[1], KEYS[2]
local id, known_epoch, known_version, lobby, name, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]

local member = redis.call('HGET', room, id)
if not member then return false end
local joined, holder = string.match(member, '^(%d+) %d+ (%S+) ')
local epoch = redis.call('HGET', room, '#epoch')
-- a network may have held this back for long: it must not take out one that has come again since
if epoch ~= known_epoch or tonumber(joined) > known_version then return false end
redis.call('HDEL', room, id)
local version = redis.call('HINCRBY', room, '#version', 1)
local holders = cjson.decode(redis.call('HGET', room, '#instances'))
holders[holder] = (holders[holder] or 0) - 1
if holders[holder] <= 0 then holders[holder] = nil end
if next(holders) == nil then
  redis.call('DEL', room)
  -- where this answer is lost, the leaver finds out here that it was the last. One key a life, in the room's slot
  redis.call('SET', tombstone .. ':' .. epoch, string.format('%d last_member_left %s', version, id), 'PX', ttl)
  redis.pcall('PUBLISH', lobby, cjson.encode({ type = 'room_disbanded', room = name, epoch = epoch, reason = 'last_member_left' }))
  return { epoch, version, 1, '{}' }
end
redis.call('HSET', room, '#instances', cjson.encode(holders))
return { epoch, version, 0, cjson.encode(holders) }
