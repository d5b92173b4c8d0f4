-- Ends a room's life. Answers {epoch, version, holders as JSON}, 'late', or false when there is no room or the requester is not in it.
-- KEYS: the room, its tombstones' prefix. ARGV: requester's connection_id ('' for the host application), ttl of a tombstone in ms,
-- lobby channel, room's name, deadline in ms
local room, tombstone = KEYS[1], KEYS[2]
local requester, ttl, lobby, name, deadline = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local time = redis.call('TIME')
-- who asked for it was told that it is unavailable, and may have gone on since
if time[1] * 1000 + math.floor(time[2] / 1000) > deadline then return 'late' end

local epoch = redis.call('HGET', room, '#epoch')
if not epoch then return false end
if requester ~= '' and redis.call('HEXISTS', room, requester) == 0 then return false end
local version = redis.call('HGET', room, '#version') + 1
local holders = redis.call('HGET', room, '#instances')
redis.call('DEL', room)
-- whoever missed the end finds it here, and does not bring the room back
redis.call('SET', tombstone .. ':' .. epoch, string.format('%d user_requested -', version), 'PX', ttl)
redis.pcall('PUBLISH', lobby, cjson.encode({ type = 'room_disbanded', room = name, epoch = epoch, reason = 'user_requested' }))
return { epoch, version, holders }
