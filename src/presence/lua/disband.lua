-- Ends a room's life. Answers {epoch, version, instances as JSON}, or false when there is no room or the requester is not in it.
-- KEYS[1] the room. ARGV: requester's connection_id ('' for the host application), lobby channel, room's name
local room, requester, lobby, name = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local epoch = redis.call('HGET', room, '#epoch')
if not epoch then return false end
if requester ~= '' and redis.call('HEXISTS', room, requester) == 0 then return false end
local version = redis.call('HINCRBY', room, '#version', 1)
local instances = redis.call('HGET', room, '#instances')
redis.call('DEL', room)
redis.pcall('PUBLISH', lobby, cjson.encode({ type = 'room_disbanded', room = name, epoch = epoch, reason = 'user_requested' }))
return { epoch, version, instances }
