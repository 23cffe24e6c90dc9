-- Replaces the record if nobody has taken the lease or written since, and renews or frees the lease. KEYS: session,
-- lock. ARGV: owner, lease (ms), fence, next fence, generation, record, 'free' or 'keep' the lease, 'aside' if the
-- current record is broken, channel.
local found = redis.call('HMGET', KEYS[1], 'fence', 'record')
local arrived_before = found[1] == ARGV[4] and (found[2] or '') == ARGV[6]
-- This also refuses a write to a server that has lost its data: a holder that was stopped for long does not know which
-- tokens were presented in the meantime.
if not arrived_before and found[1] ~= ARGV[3] then
  return 0
end
-- The lease comes first, so that a user without the right to change it has changed nothing.
if ARGV[7] == 'keep' then
  -- A lease that had ended is ours again: another holder would have changed the fence.
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
  -- A user who may not publish has still written: the waiters also poll.
  redis.pcall('PUBLISH', ARGV[9], ARGV[5])
end
return 1
