-- Frees the lease if it is ours, and wakes who waits for it. KEYS: lock. ARGV: owner, channel.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  -- Who may not publish frees it all the same; the others look from time to time.
  redis.pcall('PUBLISH', ARGV[2], '')
end
return 1
