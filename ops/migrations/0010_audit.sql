-- The audit log: the records of decisions.v1, row by row, as they stood there; and the payments that were refused.
--
-- `record` is the value's bytes on the topic. Every other column follows from it or from its position on the topic, or
-- is one of those that the audit service adds: logged_at, filed_at, recorded_at, leaf_hash and chain_hash. The leaf binds
-- the first two, and the other three are also held outside the database (docs/audit.md), so the offline verifier finds
-- any column that was changed.
--
-- created_at is what the record claims, by the clock of whoever wrote it. logged_at is the broker's time. Only filed_at
-- chooses a partition: it is the broker's time, or 1970-01-01, which is the partition of what no month can take
-- (0082_trusted_time.sql).

CREATE TABLE audit.ai_decision_log (
    decision_id uuid NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    agent_id text NOT NULL,
    model_version text NOT NULL,
    model_hash bytea NOT NULL CHECK (length(model_hash) = 32),
    policy_version text NOT NULL,
    policy_hash bytea NOT NULL CHECK (length(policy_hash) = 32),
    input_hash char(64) NOT NULL CHECK (length(input_hash) = 64),  -- SHA-256 of the snapshot, in hexadecimal
    input_snapshot jsonb NOT NULL,
    decision text NOT NULL CHECK (decision IN ('ALLOW', 'BLOCK', 'ESCALATE')),
    confidence numeric(5, 4) NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    reasoning text NOT NULL CONSTRAINT reasoning_is_given CHECK (length(btrim(reasoning, E' \t\n\r\f\v')) > 0),
    reasons jsonb NOT NULL,
    rules_triggered jsonb NOT NULL,
    route text NOT NULL CHECK (route IN ('GUARDRAIL', 'MODEL', 'FALLBACK')),
    breaker_state text NOT NULL CHECK (breaker_state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'UNKNOWN')),
    breaker_scope text NOT NULL,
    execution_id uuid NOT NULL,
    created_at timestamptz NOT NULL,  -- time of the decision, by the worker's clock
    logged_at timestamptz NOT NULL,
    filed_at timestamptz NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    record bytea NOT NULL,
    leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (filed_at, topic_partition, topic_offset)
) PARTITION BY RANGE (filed_at);

-- PostgreSQL's own pglz takes a third of all that storing a row costs. lz4 takes hardly any, for as few bytes. A server
-- that was built without lz4 keeps pglz.
DO $$
BEGIN
    IF 'lz4' = ANY ((SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression')::text[]) THEN
        ALTER TABLE audit.ai_decision_log ALTER input_snapshot SET COMPRESSION lz4,
            ALTER reasons SET COMPRESSION lz4, ALTER record SET COMPRESSION lz4;
    END IF;
END
$$;

CREATE TABLE audit.reversal_log (
    reversal_id uuid NOT NULL,
    decision_id uuid NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    plan_id text NOT NULL,
    reversed_outcome text NOT NULL,
    corrected_outcome text,
    reason text NOT NULL CONSTRAINT reason_is_given CHECK (length(btrim(reason, E' \t\n\r\f\v')) > 0),
    requested_by text NOT NULL,
    approved_by text NOT NULL,
    created_at timestamptz NOT NULL,  -- time of the reversal
    logged_at timestamptz NOT NULL,
    filed_at timestamptz NOT NULL,
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    record bytea NOT NULL,
    leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (filed_at, topic_partition, topic_offset)
) PARTITION BY RANGE (filed_at);

CREATE TABLE audit.review_log (
    review_id uuid NOT NULL,
    decision_id uuid NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL CONSTRAINT reason_is_given CHECK (length(btrim(reason, E' \t\n\r\f\v')) > 0),
    reviewed_by text NOT NULL,
    second_reviewer text,
    created_at timestamptz NOT NULL,  -- time of the review
    logged_at timestamptz NOT NULL,
    filed_at timestamptz NOT NULL,
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    record bytea NOT NULL,
    leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (filed_at, topic_partition, topic_offset)
) PARTITION BY RANGE (filed_at);

-- Queries find a transaction's rows by its decision's id, which follows from the transaction's.
CREATE INDEX ai_decision_log_decision ON audit.ai_decision_log (decision_id);
CREATE INDEX reversal_log_decision ON audit.reversal_log (decision_id);
CREATE INDEX review_log_decision ON audit.review_log (decision_id);

-- One row for each batch that was stored, which says how far its partition's log had come. The service starts from the
-- last one.
CREATE TABLE audit.chain_link (
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    tree_size bigint NOT NULL CHECK (tree_size > 0),
    last_offset bigint NOT NULL CHECK (last_offset >= 0),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_partition, tree_size)
);

-- Payments that did not become decisions, including duplicates, without their payload.
CREATE TABLE audit.dead_letter (
    source_topic text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    source_timestamp timestamptz NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    payload_sha256 bytea NOT NULL CHECK (length(payload_sha256) = 32),
    payload_length bigint NOT NULL,
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    created_at timestamptz NOT NULL,  -- time of the dead letter on its topic
    filed_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (filed_at, topic_partition, topic_offset)
) PARTITION BY RANGE (filed_at);
CREATE INDEX dead_letter_source ON audit.dead_letter (source_topic, source_partition, source_offset);

SELECT control.make_append_only(logged)
FROM unnest(ARRAY['audit.ai_decision_log', 'audit.reversal_log', 'audit.review_log', 'audit.chain_link',
                  'audit.dead_letter']::regclass[]) AS logged;

-- Each decision with what people have done to it since: the latest review and the latest reversal appended.
CREATE VIEW audit.ai_decision AS
SELECT decided.*, reviewed.reviewed_by, reviewed.reviewed_at, reviewed.reviewed_outcome,
    reversed.reversal_id, reversed.reversed_at, reversed.corrected_outcome
FROM audit.ai_decision_log AS decided
LEFT JOIN LATERAL (
    SELECT review_log.reviewed_by, review_log.created_at AS reviewed_at, review_log.outcome AS reviewed_outcome
    FROM audit.review_log
    WHERE review_log.decision_id = decided.decision_id
    ORDER BY review_log.created_at DESC, review_log.topic_offset DESC LIMIT 1
) AS reviewed ON true
LEFT JOIN LATERAL (
    SELECT reversal_log.reversal_id, reversal_log.created_at AS reversed_at, reversal_log.corrected_outcome
    FROM audit.reversal_log
    WHERE reversal_log.decision_id = decided.decision_id
    ORDER BY reversal_log.created_at DESC, reversal_log.topic_offset DESC LIMIT 1
) AS reversed ON true;

GRANT USAGE ON SCHEMA audit TO fraud_audit;
GRANT SELECT, INSERT ON audit.ai_decision_log, audit.reversal_log, audit.review_log, audit.chain_link, audit.dead_letter
    TO fraud_audit;
