-- Keeps the newest value of a fact about an entity. KEYS: the fact. ARGV: observed at in ms, value (-1 for UNKNOWN).

local held = redis.call('GET', KEYS[1])
if held and struct.unpack('<l', held) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], struct.pack('<ll', tonumber(ARGV[1]), tonumber(ARGV[2])))
return 1
