-- Reads the record, and renews the lease if it is ours. KEYS: session, lock. ARGV: owner, lease (ms).
local time = redis.call('TIME')
local millis = string.format('%.0f', math.floor((time[1] * 1000000 + time[2]) / 1000))
local found = redis.call('HMGET', KEYS[1], 'fence', 'record')
local state = 'free'
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  state = 'held'
end
return { state, millis, found[1] or '0', found[2] or '' }
