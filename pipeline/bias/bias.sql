-- name: newest_state
-- The state from which the monitor goes on.
SELECT sequence, state FROM control.bias_state ORDER BY sequence DESC LIMIT 1;

-- name: append_state
-- A state after the newest one; another is refused.
INSERT INTO control.bias_state (sequence, minute, state) VALUES (%(sequence)s, %(minute)s, %(state)s);

-- name: append_span
-- What was counted of a model version since the state before.
INSERT INTO control.bias_span (sequence, model_version, until_ms, counts, inputs)
VALUES (%(sequence)s, %(version)s, %(until_ms)s, %(counts)s, %(inputs)s);

-- name: append_known
-- The first word on each decision; returns those that had none.
INSERT INTO control.bias_known (decision_id, is_fraud, is_by_review, sequence)
SELECT decision_id, is_fraud, is_by_review, %(sequence)s
FROM unnest(%(decision_ids)s::uuid[], %(frauds)s::boolean[], %(by_review)s::boolean[])
    AS known (decision_id, is_fraud, is_by_review)
ON CONFLICT DO NOTHING
RETURNING decision_id::text;

-- name: append_gap
-- A gap that opened or ended.
INSERT INTO control.bias_gap (scope, measure, opened_minute, kind, sequence, minute, counts)
VALUES (%(scope)s, %(measure)s, %(opened_minute)s, %(kind)s, %(sequence)s, %(minute)s, %(counts)s)
ON CONFLICT DO NOTHING;

-- name: decisions_of_payments
-- The first decision on each of these payments, as far as it is compared by segment.
SELECT DISTINCT ON (wanted.transaction_id, wanted.account_id)
    wanted.transaction_id, wanted.account_id, decided.decision_id::text, decided.model_version, decided.decision,
    decided.input_snapshot -> 'transaction' -> 'segments', decided.input_snapshot -> 'transaction' ->> 'channel'
FROM unnest(%s::text[], %s::text[]) AS wanted (transaction_id, account_id)
JOIN audit.ai_decision_log AS decided USING (transaction_id, account_id)
ORDER BY wanted.transaction_id, wanted.account_id, decided.logged_at, decided.topic_partition, decided.topic_offset;

-- name: spans_since
-- What was counted of a model version, or of all (NULL), from a time on.
SELECT model_version, until_ms, counts, inputs FROM control.bias_span
WHERE until_ms > %(since_ms)s AND until_ms <= %(until_ms)s
    AND (%(version)s::text IS NULL OR model_version = %(version)s)
ORDER BY sequence, model_version;

-- name: open_gaps
-- Gaps that opened and haven't ended.
SELECT opened.scope, opened.measure, opened.opened_minute, opened.counts
FROM control.bias_gap AS opened
WHERE opened.kind = 'OPENED' AND NOT EXISTS (
    SELECT FROM control.bias_gap AS ended
    WHERE ended.kind = 'ENDED' AND ended.scope = opened.scope AND ended.measure = opened.measure
        AND ended.opened_minute = opened.opened_minute)
ORDER BY opened.opened_minute, opened.scope, opened.measure;

-- name: answered_beside
-- What one champion and the challenger answered to the same payments, ever, by segment and channel; of one account two
-- payments count in any three hours. Known: by the first word of a label or a review. What the champion's model answered
-- and the challenger could not counts as an escalation by it: live it would be silent there, and the fallback stricter.
WITH answered AS (
    SELECT given.champion_outcome, coalesce(given.challenger_outcome, 'ESCALATE') AS challenger_outcome, known.is_fraud, decided.input_snapshot -> 'transaction' AS payment,
        row_number() OVER (
            PARTITION BY decided.account_id, floor(extract(epoch FROM given.decided_at) / 10800)
            ORDER BY given.decided_at, given.decision_id
        ) AS place
    FROM shadow.answer AS given
    JOIN audit.ai_decision_log AS decided USING (decision_id)
    LEFT JOIN control.bias_known AS known USING (decision_id)
    WHERE given.digest = %(digest)s AND given.standing IN ('COMPARED', 'FAILED', 'VALUE_UNKNOWN')
        AND given.champion_ppm >= 0 AND given.champion_version = %(champion)s
), counted AS (
    SELECT *, 'all' AS scope FROM answered WHERE place <= 2
    UNION ALL
    SELECT answered.*, 'channel:' || (payment ->> 'channel') FROM answered WHERE place <= 2
    UNION ALL
    SELECT answered.*, 'segment:' || named.key || '=' || named.value
    FROM answered, jsonb_each_text(payment -> 'segments') AS named WHERE place <= 2
)
SELECT scope, count(*),
    count(*) FILTER (WHERE champion_outcome = 'BLOCK'), count(*) FILTER (WHERE champion_outcome = 'ESCALATE'),
    count(*) FILTER (WHERE champion_outcome <> 'ALLOW' AND NOT is_fraud),
    count(*) FILTER (WHERE challenger_outcome = 'BLOCK'), count(*) FILTER (WHERE challenger_outcome = 'ESCALATE'),
    count(*) FILTER (WHERE challenger_outcome <> 'ALLOW' AND NOT is_fraud),
    count(*) FILTER (WHERE NOT is_fraud), count(*) FILTER (WHERE is_fraud)
FROM counted GROUP BY scope;
