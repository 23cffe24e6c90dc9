-- Renews the lease if it is ours, or if it has ended and nobody has taken it or written since. KEYS: session, lock.
-- ARGV: owner, lease (ms), fence.
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then
  return 0
end
if not holder and redis.call('HMGET', KEYS[1], 'fence')[1] ~= ARGV[3] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
