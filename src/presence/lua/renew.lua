-- Renews a lease. One that has ended is not renewed: its place is taken by the next holder of the same instance.
-- Answers {lapsed 0 or 1, generation, now in ms, live leases, instances that have restored their members, ms until the next
-- lease ends (-1: none), holders to reap}.
-- KEYS: instances, generation, restored, reaping. ARGV: the holder, the next holder, lease in ms, a new generation, ttl in ms,
-- the instance's nonce, the generation into which it has restored its members or '', whether it may reap 0 or 1
local instances, generation, restored, reaping = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local holder, next_holder, lease, fresh, ttl, nonce, restored_into, may_reap = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local MOST_TO_REAP = 16

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('SET', generation, fresh, 'PX', ttl, 'NX')
redis.call('PEXPIRE', generation, ttl)
local ends = redis.call('ZSCORE', instances, holder)
local lapsed = not ends or tonumber(ends) <= now
local current = lapsed and next_holder or holder
redis.call('ZADD', instances, string.format('%.0f', now + lease), current)
redis.call('PEXPIRE', instances, ttl)
if restored_into == redis.call('GET', generation) then
  redis.call('SADD', restored, nonce)
  redis.call('PEXPIRE', restored, ttl)
end

local reap = {}
if may_reap == '1' and not lapsed then
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', instances, '-inf', now, 'LIMIT', 0, MOST_TO_REAP)) do
    -- one reaper at a time, for as long as a lease: if it dies over it, another takes over
    local claimed = redis.call('ZSCORE', reaping, dead)
    if not claimed or tonumber(claimed) <= now then
      redis.call('ZADD', reaping, string.format('%.0f', now + lease), dead)
      redis.call('PEXPIRE', reaping, ttl)
      reap[#reap + 1] = dead
    end
  end
end

local upcoming = redis.call('ZRANGEBYSCORE', instances, '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local until_next = upcoming[2] and tonumber(upcoming[2]) - now or -1
return {
  lapsed and 1 or 0, redis.call('GET', generation), string.format('%.0f', now), redis.call('ZCOUNT', instances, '(' .. string.format('%.0f', now), '+inf'),
  redis.call('SCARD', restored), until_next, reap
}
