-- Takes in a label in its turn. Returns 1 where it marked its payment, 2 where it waits for it (or did, and its refusal
-- was told), 0 where it can't because too many wait, 3 where it may not or did not; or a negative number (see
-- context.lua) and has done nothing.
-- `label` is the script of this name, as a function of KEYS and ARGV.
-- KEYS: the beneficiary, context positions, labels that wait (hash: partition:offset → the record), and what says that
-- this label waited in vain, and was told of.
-- ARGV[1..7]: those of label.lua; then the move, the field and the record of a label that waits ('' where it may not),
-- and how many may wait.

local incarnation, is_new = move_context(KEYS[2], ARGV[8])
if not incarnation then return is_new end
if label({KEYS[1]}, ARGV) == 1 then return 1 end
if redis.call('HEXISTS', KEYS[3], ARGV[9]) == 1 or redis.call('EXISTS', KEYS[4]) == 1 then return 2 end
if ARGV[10] == '' or not is_new then return 3 end
if redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[11]) then return 0 end
redis.call('HSET', KEYS[3], ARGV[9], ARGV[10])
return 2
