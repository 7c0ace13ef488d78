-- Takes in a label in its turn. Returns 1 where it marked its payment, 2 where it waits for it (or did, when it was read
-- before), 0 where it can't, because too many wait; or a negative number (see context.lua) and has done nothing.
-- `label` is the script of this name, as a function of KEYS and ARGV.
-- KEYS: the beneficiary, context positions, labels that wait (hash: partition:offset → the record).
-- ARGV[1..3]: those of label.lua; then the move, the field and the record of a label that waits, and how many may wait.

local incarnation, is_new = move_context(KEYS[2], ARGV[4])
if not incarnation then return is_new end
if label({KEYS[1]}, ARGV) == 1 then return 1 end
if not is_new then return 2 end
if redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[7]) then return 0 end
redis.call('HSET', KEYS[3], ARGV[5], ARGV[6])
return 2
