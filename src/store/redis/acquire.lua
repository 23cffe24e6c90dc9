-- Takes the lease, if it is free or ours already. The new fence token is greater than all earlier ones, even if the
-- server has lost its data. KEYS: session, lock. ARGV: owner, lease (ms), known generation.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local millis = string.format('%.0f', math.floor(micros / 1000))
local found = redis.call('HMGET', KEYS[1], 'fence', 'generation', 'record')
local record = found[3] or ''
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then
  if (tonumber(found[2]) or 0) > tonumber(ARGV[3]) then
    return { 'moved', millis, '0', record }
  end
  return { 'busy', millis, '0', '' }
end
local fence = string.format('%.0f', math.max((tonumber(found[1]) or 0) + 1, micros))
redis.call('HSET', KEYS[1], 'fence', fence)
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'held', millis, fence, record }
