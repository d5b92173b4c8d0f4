-- Makes a room hold exactly the given members of one instance, but for those that another instance holds by now. Answers
--   {'late'}                                     the deadline has passed: nothing was done
--   {'disbanded', version}                       the life that the instance knows was ended on purpose
--   {'gone'}                                     there is no such room
--   {'held', restored 0 or 1, changes, HGETALL}  changes: 'joined' or 'left', connection_id and version in turn
-- KEYS: the room, its tombstones' prefix. ARGV: the instance's nonce, its holder, the epoch it knows ('' for none), the version it
-- knows, since ('kept', 'lapsed', 'forgotten'), epoch for a new life, ttl and tombstone's ttl in ms, deadline in ms, lobby
-- channel, room's name, connection_ids of members that have left that life since (JSON); then connection_id, joined_at and JSON of each of its members
local room, tombstone = KEYS[1], KEYS[2]
local nonce, holder, known_epoch, known_version, since = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local fresh_epoch, ttl, tombstone_ttl, deadline, lobby, name = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), ARGV[10], ARGV[11]
local leavers = cjson.decode(ARGV[12])
local FIRST = 13

local function announce (event)
  event.room = name
  redis.pcall('PUBLISH', lobby, cjson.encode(event))
end

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > deadline then return { 'late' } end

-- one key a life, in the room's slot
local function end_life (of, at, by)
  redis.call('SET', tombstone .. ':' .. of, string.format('%d last_member_left %s', at, by), 'PX', tombstone_ttl)
  announce({ type = 'room_disbanded', epoch = of, reason = 'last_member_left' })
end

local ended_version, ended_reason = string.match(redis.call('GET', tombstone .. ':' .. known_epoch) or '', '^(%d+) (%S+) ')
if ended_reason == 'user_requested' then return { 'disbanded', tonumber(ended_version) } end

local fields = redis.call('HGETALL', room)
local epoch, version, holders = nil, 0, {}
local members = {}
for i = 1, #fields, 2 do
  local field, value = fields[i], fields[i + 1]
  if field == '#epoch' then epoch = value
  elseif field == '#version' then version = tonumber(value)
  elseif field == '#instances' then holders = cjson.decode(value)
  else members[field] = value end
end

local wanted = {}
for i = FIRST, #ARGV, 3 do wanted[ARGV[i]] = true end

local restored = false
local exists = epoch ~= nil
if not exists then
  if next(wanted) == nil then
    -- the last of them left while the store was away, and the store forgot that there was a room; others may have found so too
    if since == 'forgotten' and known_epoch ~= '' and not ended_reason then end_life(known_epoch, known_version + 1, leavers[#leavers] or '-') end
    return { 'gone' }
  end
  restored = known_epoch ~= '' and since ~= 'lapsed' and not ended_reason
  if restored then
    -- nobody can have ended it: the store has lost it, and its life goes on
    epoch, version = known_epoch, known_version
  else
    epoch = fresh_epoch
  end
end
local is_known_life = exists and epoch == known_epoch
-- others have put this life back already: who knows as much as they do tells them nothing new
local is_rejoined = is_known_life and since == 'forgotten' and known_version >= version
if is_known_life and known_version > version then
  version = known_version -- a replica that took over had not heard of all
end

local function nonce_of (of) return string.match(of, '^(.*)~%d+$') end

local function count (of, difference)
  local sum = (holders[of] or 0) + difference
  if sum > 0 then holders[of] = sum else holders[of] = nil end
end

local changes = {}
local last_gone
local function changed (kind, id)
  version = version + 1
  changes[#changes + 1] = kind
  changes[#changes + 1] = id
  changes[#changes + 1] = version
end

local sets = {}
for i = FIRST, #ARGV, 3 do
  local id, joined_at, member = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local stored = members[id]
  if stored == nil then
    if restored or is_rejoined then
      sets[#sets + 1] = { id, string.format('%d %s %s ', restored and (i - FIRST) / 3 or version, joined_at, holder) .. member }
    else
      changed('joined', id)
      sets[#sets + 1] = { id, string.format('%d %s %s ', version, joined_at, holder) .. member }
    end
    count(holder, 1)
  else
    local stored_version, stored_at, stored_holder, rest = string.match(stored, '^(%d+) (%d+) (%S+) (.*)$')
    -- one that another instance holds went on there, and stays
    if stored_holder ~= holder and nonce_of(stored_holder) == nonce then
      -- it is ours since an earlier lease: whoever reaps that one must not take it
      sets[#sets + 1] = { id, stored_version .. ' ' .. stored_at .. ' ' .. holder .. ' ' .. rest }
      count(stored_holder, -1)
      count(holder, 1)
    end
  end
end
for _, set in ipairs(sets) do redis.call('HSET', room, set[1], set[2]) end

for id, stored in pairs(members) do
  local stored_holder = string.match(stored, '^%d+ %d+ (%S+) ')
  if not wanted[id] and nonce_of(stored_holder) == nonce then
    redis.call('HDEL', room, id)
    count(stored_holder, -1)
    changed('left', id)
    last_gone = id
  end
end

if since == 'forgotten' and (restored or is_known_life) then
  -- the store has forgotten them, the others have not
  for _, id in ipairs(leavers) do
    if not members[id] and not wanted[id] then changed('left', id) end
  end
end

if next(holders) == nil then
  redis.call('DEL', room)
  end_life(epoch, version, last_gone)
  return { 'gone' }
end
redis.call('HSET', room, '#epoch', epoch, '#version', version, '#instances', cjson.encode(holders))
redis.call('PEXPIRE', room, ttl)
if not exists and not restored then announce({ type = 'room_created', epoch = epoch }) end
return { 'held', restored and 1 or 0, changes, redis.call('HGETALL', room) }
