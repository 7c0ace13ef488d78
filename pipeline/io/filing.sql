-- name: months_taken
-- Which of these times a month's partition of the table takes; what lies ahead of the server's clock is taken by none.
SELECT control.is_month_taken(%s::text::regclass, at) FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS wanted (at, place)
ORDER BY place;

-- name: months_ahead
-- How many months after the present one every table has partitions for; -1 where the present one lacks its own.
SELECT min(months) FROM control.partition_reach();

-- name: server_now_ms
-- The server's clock, by which everything expires.
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
