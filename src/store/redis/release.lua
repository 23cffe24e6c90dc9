-- Frees the lease if it is ours, and wakes its waiters. KEYS: lock. ARGV: owner, channel.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  -- A user who may not publish still frees the lease: the waiters also poll.
  redis.pcall('PUBLISH', ARGV[2], '')
end
return 1
