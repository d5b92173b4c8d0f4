-- Puts a member into a room, or has one that another instance holds go on under its holder. Answers {epoch, version, HGETALL,
-- the instance it was taken from or ''}, 'full' or 'late'; false when it is to go on in a life that has ended, or is not in it.
-- KEYS[1] the room. ARGV: connection_id, member as JSON, its holder, most members (0: any), epoch for a new life,
-- ttl in ms, lobby channel, room's name, deadline in ms, epoch of the life to go on in ('' for a join)
local room, id, member, holder = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local limit, epoch, ttl, lobby, name, deadline, life = tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), ARGV[10]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- a join that a network held back must not come true when its asker has long given it up
if now > deadline then return 'late' end

local function nonce_of (of) return string.match(of, '^(.*)~%d+$') end

local stored = redis.call('HGET', room, id)
if life ~= '' and (not stored or redis.call('HGET', room, '#epoch') ~= life) then return false end
local from = ''
if stored then
  local joined_at, former = string.match(stored, '^%d+ (%d+) (%S+) ')
  -- by the same instance: the answer to its join was lost. A version of its own keeps it apart from whoever has come since
  local version = redis.call('HINCRBY', room, '#version', 1)
  if nonce_of(former) ~= nonce_of(holder) then
    from = nonce_of(former)
    local holders = cjson.decode(redis.call('HGET', room, '#instances'))
    holders[former] = (holders[former] or 0) - 1
    if holders[former] <= 0 then holders[former] = nil end
    holders[holder] = (holders[holder] or 0) + 1
    -- at the new version: the former holder's leave, which knows an earlier one, must not take it out
    redis.call('HSET', room, '#instances', cjson.encode(holders), id, string.format('%d %s %s ', version, joined_at, holder) .. member)
    redis.call('PEXPIRE', room, ttl)
  end
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
return { redis.call('HGET', room, '#epoch'), redis.call('HGET', room, '#version'), redis.call('HGETALL', room), from }
