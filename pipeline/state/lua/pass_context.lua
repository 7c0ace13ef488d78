-- Moves a position of the context over a record that changes nothing under this tag. Returns 1, or a negative number (see
-- context.lua).
-- KEYS: context positions. ARGV: move.

local incarnation, behind = move_context(KEYS[1], ARGV[1])
return incarnation and 1 or behind
