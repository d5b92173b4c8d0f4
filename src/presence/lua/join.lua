-- Puts a member into a room. Answers {epoch, version, HGETALL}, 'full' or 'late'.
-- KEYS[1] the room. ARGV: connection_id, member as JSON, its holder, most members (0: any), epoch for a new life,
-- ttl in ms, lobby channel, room's name, deadline in ms
local room, id, member, holder = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local limit, epoch, ttl, lobby, name, deadline = tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- a join that a network held back must not come true when its asker has long given it up
if now > deadline then return 'late' end

if redis.call('HEXISTS', room, id) == 1 then
  -- the answer to its join was lost: a version of its own keeps it apart from whoever has come since
  redis.call('HINCRBY', room, '#version', 1)
else
  local fields = redis.call('HLEN', room)
  -- three fields are not members: #epoch, #version, #instances
  if limit > 0 and fields - 3 >= limit then return 'full' end
  local holders = {}
  if fields == 0 then
    redis.call('HSET', room, '#epoch', epoch, '#version', 0)
  else
    holders = cjson.decode(redis.call('HGET', room, '#instances'))
  end
  holders[holder] = (holders[holder] or 0) + 1
  local version = redis.call('HINCRBY', room, '#version', 1)
  redis.call('HSET', room, '#instances', cjson.encode(holders), id, string.format('%d %.0f %s ', version, now, holder) .. member)
  redis.call('PEXPIRE', room, ttl)
  if fields == 0 then
    -- pcall: where the lobby is forbidden (ACL), nobody can watch, and the join has happened all the same
    redis.pcall('PUBLISH', lobby, cjson.encode({ type = 'room_created', room = name, epoch = epoch }))
  end
end
return { redis.call('HGET', room, '#epoch'), redis.call('HGET', room, '#version'), redis.call('HGETALL', room) }
