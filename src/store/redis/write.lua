-- Replaces the record if nobody has taken the lease or written since, and renews the lease or frees it.
-- KEYS: session, lock. ARGV: owner, lease (ms), fence, next fence, generation, record, 'free' or 'keep' the lease,
-- 'aside' if what was there is broken, channel.
local found = redis.call('HMGET', KEYS[1], 'fence', 'record')
local arrived_before = found[1] == ARGV[4] and (found[2] or '') == ARGV[6]
-- Nor into a server that came back empty: whoever was stopped for long does not know what was presented meanwhile.
if not arrived_before and found[1] ~= ARGV[3] then
  return 0
end
-- First the lease, so that a user who may not do this has changed nothing.
if ARGV[7] == 'keep' then
  -- One that was over is ours again: with another holder the fence would be another one.
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
elseif redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
if not arrived_before then
  if ARGV[8] == 'aside' and found[2] then
    redis.call('HSET', KEYS[1], 'broken', found[2])
  end
  redis.call('HSET', KEYS[1], 'fence', ARGV[4], 'generation', ARGV[5], 'record', ARGV[6])
  if ARGV[6] == '' then
    redis.call('HDEL', KEYS[1], 'record', 'broken')
  end
end
if ARGV[7] == 'free' then
  -- Who may not publish has written all the same; the others look from time to time.
  redis.pcall('PUBLISH', ARGV[9], ARGV[5])
end
return 1
