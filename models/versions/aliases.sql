-- name: latest_move
-- The last record of the alias that was recorded here.
SELECT sequence, encode(record_sha256, 'hex') FROM control.model_move ORDER BY sequence DESC LIMIT 1;
