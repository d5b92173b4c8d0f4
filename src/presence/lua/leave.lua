-- Takes a member out of a room. Answers {epoch, version, emptied 0 or 1, instances as JSON}, or false when it is not in it.
-- KEYS[1] the room. ARGV: connection_id, instance, lobby channel, room's name
local room, id, instance, lobby, name = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('HDEL', room, id) == 0 then return false end
local epoch = redis.call('HGET', room, '#epoch')
local version = redis.call('HINCRBY', room, '#version', 1)
local instances = cjson.decode(redis.call('HGET', room, '#instances'))
instances[instance] = (instances[instance] or 0) - 1
if instances[instance] <= 0 then instances[instance] = nil end
if next(instances) == nil then
  redis.call('DEL', room)
  redis.pcall('PUBLISH', lobby, cjson.encode({ type = 'room_disbanded', room = name, epoch = epoch, reason = 'last_member_left' }))
  return { epoch, version, 1, '{}' }
end
redis.call('HSET', room, '#instances', cjson.encode(instances))
return { epoch, version, 0, cjson.encode(instances) }
