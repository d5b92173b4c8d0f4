-- Has the reaper of a holder visit a room. Answers 1, or 'late'.
-- KEYS[1] the holder's set of rooms. ARGV: the room's name, ttl in ms, deadline in ms
local time = redis.call('TIME')
-- after the end of the lease the set may have been reaped: nobody would delete it any more
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[3]) then return 'late' end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
