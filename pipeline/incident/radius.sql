-- name: begin
-- Everything is read from one moment of the database.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: patient
-- Adding up some millions of decisions takes longer than a service's batch may.
SET LOCAL statement_timeout = '30min';

-- name: now
-- The time of that moment.
SELECT (extract(epoch FROM now()) * 1000)::bigint;

-- name: audited_until
-- Up to which offset of each partition of decisions.v1 the audit log is written.
SELECT partition, next_offset FROM control.consumer_position WHERE consumer = 'audit' AND topic = %s ORDER BY partition;

-- name: affected
-- What an incident affected: decisions of its scopes, each in its time, that a guardrail didn't make; and those that
-- stand where its alerts say. A decision that stands on the topic twice counts once. Rows are filed under the broker's
-- time, or in 1970 where no month takes it.
WITH spans AS (
    SELECT model, name, value, channel, timestamptz 'epoch' + since_ms * interval '1 millisecond' AS since,
        timestamptz 'epoch' + until_ms * interval '1 millisecond' AS until
    FROM unnest(%(models)s::text[], %(names)s::text[], %(values)s::text[], %(channels)s::text[], %(since_ms)s::bigint[],
                %(until_ms)s::bigint[]) AS asked (model, name, value, channel, since_ms, until_ms)
),
places AS (
    SELECT *
    FROM unnest(%(partitions)s::integer[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS asked (place, first, last)
),
logged AS (
    SELECT decision_id, transaction_id, account_id, decision, route, model_version, logged_at, topic_partition,
        topic_offset, input_snapshot
    FROM audit.ai_decision_log
    WHERE filed_at >= timestamptz 'epoch' + %(first_ms)s::bigint * interval '1 millisecond'
        AND filed_at < timestamptz 'epoch' + %(last_ms)s::bigint * interval '1 millisecond'
    UNION ALL
    SELECT decision_id, transaction_id, account_id, decision, route, model_version, logged_at, topic_partition,
        topic_offset, input_snapshot
    FROM audit.ai_decision_log WHERE filed_at < '1970-01-02+00' AND %(first_ms)s::bigint >= 86400000
),
found AS (
    SELECT decision_id, transaction_id, account_id, decision, route, logged_at, topic_partition, topic_offset,
        input_snapshot
    FROM logged WHERE route <> 'GUARDRAIL' AND EXISTS (
        SELECT FROM spans
        WHERE logged.logged_at >= spans.since AND logged.logged_at < spans.until
            AND (spans.model IS NULL OR logged.model_version = spans.model)
            AND (spans.name IS NULL
                 OR logged.input_snapshot -> 'transaction' -> 'segments' ->> spans.name = spans.value)
            AND (spans.channel IS NULL OR logged.input_snapshot -> 'transaction' ->> 'channel' = spans.channel)
    )
    UNION ALL
    SELECT decision_id, transaction_id, account_id, decision, route, logged_at, topic_partition, topic_offset,
        input_snapshot
    FROM audit.ai_decision_log AS placed JOIN places
        ON placed.topic_partition = places.place AND placed.topic_offset BETWEEN places.first AND places.last
    WHERE cardinality(%(partitions)s::integer[]) > 0
),
affected AS MATERIALIZED (
    SELECT DISTINCT ON (decision_id) decision_id, transaction_id, account_id, decision, route, logged_at,
        topic_partition, topic_offset, input_snapshot -> 'transaction' ->> 'currency' AS currency,
        (input_snapshot -> 'transaction' ->> 'amount_minor')::bigint AS amount_minor,
        coalesce((input_snapshot -> 'features' ->> 'amount_gbp_minor')::bigint, -1) AS worth,
        input_snapshot -> 'transaction' ->> 'beneficiary_country' AS country
    FROM found ORDER BY decision_id, logged_at, topic_partition, topic_offset
),
ends AS (
    SELECT jsonb_build_array(decision_id, transaction_id, (extract(epoch FROM logged_at) * 1000)::bigint,
                             topic_partition, topic_offset) AS place,
        row_number() OVER (ORDER BY logged_at, topic_partition, topic_offset) AS from_first,
        row_number() OVER (ORDER BY logged_at DESC, topic_partition DESC, topic_offset DESC) AS from_last
    FROM affected
)
SELECT
    (SELECT jsonb_agg(jsonb_build_array(route, decision, currency, decisions, amount)
                      ORDER BY route, decision, currency)
     FROM (SELECT route, decision, currency, count(*) AS decisions, sum(amount_minor) AS amount
           FROM affected GROUP BY route, decision, currency) AS shared),
    (SELECT jsonb_agg(jsonb_build_array(route, decision, decisions, customers) ORDER BY route, decision)
     FROM (SELECT route, decision, count(*) AS decisions, count(DISTINCT account_id) AS customers
           FROM affected GROUP BY route, decision) AS grouped),
    (SELECT count(*) FROM affected), (SELECT count(DISTINCT account_id) FROM affected),
    (SELECT coalesce(sum(worth) FILTER (WHERE worth >= 0), 0) FROM affected),
    (SELECT count(*) FILTER (WHERE worth < 0) FROM affected),
    (SELECT jsonb_object_agg(country, decisions) FROM (
        SELECT country, count(*) AS decisions FROM affected WHERE country IS NOT NULL GROUP BY country) AS reached),
    (SELECT place FROM ends WHERE from_first = 1), (SELECT place FROM ends WHERE from_last = 1);

-- name: usual
-- What is usual: the decisions of some time before the incident, and since when there were any.
SELECT (extract(epoch FROM min(logged_at)) * 1000)::bigint, count(*), count(DISTINCT account_id),
    coalesce(sum(greatest((input_snapshot -> 'features' ->> 'amount_gbp_minor')::bigint, 0)), 0)
FROM audit.ai_decision_log
WHERE filed_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond'
    AND filed_at < timestamptz 'epoch' + %(until_ms)s::bigint * interval '1 millisecond';
