-- Rollbacks that look at the ledger: what a reversal replaces, plans as the bytes that were hashed, releases in two
-- phases, and recovery cases for money that could not be had back.

-- The record that a reversal was planned to replace, and the digest of its plan. Reversals of before name neither, so
-- they replace nothing.
ALTER TABLE audit.reversal_log
    ADD COLUMN replaces_kind text NOT NULL DEFAULT 'OTHER',
    ADD COLUMN replaces_id text NOT NULL DEFAULT '',
    ADD COLUMN plan_digest text NOT NULL DEFAULT '';

-- What stands about each execution: the record in force, the record that set the aim last, the step and the reason that
-- came last, and whether it is at rest. A record that the executor ignored as ALREADY_RELEASED or NOT_HELD is in force,
-- though no money follows it (pipeline/domain/in_force.py).
CREATE VIEW ledger.outcome_in_force AS
SELECT heard.execution_id, heard.decision_id, heard.topic_partition, heard.topic_offset,
    CASE WHEN said.cause IS NULL THEN 'DECISION' WHEN said.cause LIKE 'REVIEWED%' THEN 'REVIEW' ELSE 'REVERSAL' END
        AS record_kind,
    coalesce(said.cause_id, heard.decision_id) AS record_id, coalesce(said.cause, heard.cause) AS cause,
    coalesce(applied.cause_id, heard.decision_id) AS applied_id, aims.aim, coalesce(last.to_state, 'NEW') AS state,
    turned.reason,
    coalesce(last.to_state, 'NEW') = CASE aims.aim WHEN 'SETTLE' THEN 'SETTLED' WHEN 'HOLD' THEN 'HELD'
        WHEN 'REFUSE' THEN 'REFUSED' WHEN 'REVERSE' THEN 'REVERSED' WHEN 'RELEASE' THEN 'RELEASED' END AS is_at_rest,
    EXISTS (
        SELECT FROM ledger.transition AS part WHERE part.caused_at = heard.caused_at
            AND part.execution_id = heard.execution_id AND part.step = 'PART_RECALLED'
    ) AS is_partly_recalled
FROM ledger.execution AS heard
LEFT JOIN LATERAL (
    SELECT cause.cause, cause.cause_id FROM ledger.cause
    WHERE cause.execution_id = heard.execution_id
        AND (cause.ignored IS NULL OR cause.ignored IN ('ALREADY_RELEASED', 'NOT_HELD'))
    ORDER BY cause.after_sequence DESC, cause.topic_offset DESC LIMIT 1
) AS said ON true
LEFT JOIN LATERAL (
    SELECT cause.cause_id, cause.aim, cause.after_sequence FROM ledger.cause
    WHERE cause.execution_id = heard.execution_id AND cause.aim IS NOT NULL
    ORDER BY cause.after_sequence DESC, cause.topic_offset DESC LIMIT 1
) AS applied ON true
LEFT JOIN LATERAL (
    SELECT step.to_state, step.aim, step.sequence FROM ledger.transition AS step
    WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
    ORDER BY step.sequence DESC LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT step.reason FROM ledger.transition AS step
    WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id AND step.reason IS NOT NULL
        AND step.sequence > coalesce(applied.after_sequence, 0)
    ORDER BY step.sequence DESC LIMIT 1
) AS turned ON true
CROSS JOIN LATERAL (
    SELECT CASE WHEN applied.after_sequence >= coalesce(last.sequence, 0) THEN applied.aim
        ELSE coalesce(last.aim, heard.aim) END AS aim
) AS aims;
GRANT SELECT ON ledger.outcome_in_force TO fraud_executor;

-- A plan's lines say where the ledger had the payment, and which record was in force.
ALTER TABLE control.rollback_plan_decision
    ADD COLUMN state text NOT NULL DEFAULT '',
    ADD COLUMN replaces_kind text NOT NULL DEFAULT 'OTHER'
        CHECK (replaces_kind IN ('OTHER', 'DECISION', 'REVIEW', 'REVERSAL')),
    ADD COLUMN replaces_id text NOT NULL DEFAULT '',
    DROP CONSTRAINT rollback_plan_decision_disposition_check,
    ADD CONSTRAINT rollback_plan_decision_disposition_check CHECK (disposition IN (
        'NOT_EXECUTED', 'UNSETTLED', 'GIVEN_BACK', 'REVIEWED', 'RECOVERING', 'NOT_MADE', 'UNDECIDABLE', 'UNCHANGED',
        'REVERSE', 'RELEASE')),
    -- A payment whose recall failed is paid, and reversed to ALLOW where that is right after all.
    DROP CONSTRAINT rollback_plan_decision_check1,
    ADD CONSTRAINT what_changes_has_outcomes
        CHECK (disposition NOT IN ('REVERSE', 'RELEASE') OR (outcome_before IS NOT NULL AND outcome_after IS NOT NULL));

-- A plan's canonical bytes: part 0 is the header, the others are lines. The plan's content_hash is the SHA-256 of all
-- parts, one after the other. What is applied is read from here; the rows of rollback_plan_decision are for questions.
CREATE TABLE control.rollback_plan_content (
    plan_id uuid NOT NULL,
    part integer NOT NULL CHECK (part >= 0),
    content bytea NOT NULL CHECK (length(content) BETWEEN 1 AND 268435456),
    PRIMARY KEY (plan_id, part)
);
SELECT control.make_append_only('control.rollback_plan_content', of_one_moment => true);

-- A plan is whole once its header stands, which is written last: nothing is slipped in behind it.
CREATE FUNCTION control.refuse_late_lines() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (SELECT FROM written JOIN control.rollback_plan USING (plan_id)) THEN
        RAISE EXCEPTION 'a plan that was made takes no more lines' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER refuse_late_lines AFTER INSERT ON control.rollback_plan_decision
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_late_lines();
CREATE TRIGGER refuse_late_lines AFTER INSERT ON control.rollback_plan_content
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_late_lines();
GRANT EXECUTE ON FUNCTION control.refuse_late_lines() TO fraud_rollback;

-- How each payment that a plan gives back has ended. It is published anew only once the ledger says that it is released.
CREATE TABLE control.rollback_release (
    plan_id uuid NOT NULL REFERENCES control.rollback_approval,
    decision_id uuid NOT NULL,
    ending text NOT NULL CHECK (ending IN ('PUBLISHED', 'OVERTAKEN', 'NOT_RECALLED')),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan_id, decision_id)
);
SELECT control.make_append_only('control.rollback_release');

-- transaction_ends: like end_offsets, of transactions.v1, from which a resumed run looks for payments that it published.
ALTER TABLE control.rollback_progress
    ADD COLUMN transaction_ends jsonb NOT NULL DEFAULT '{}',
    DROP CONSTRAINT rollback_progress_kind_check,
    ADD CONSTRAINT rollback_progress_kind_check
        CHECK (kind IN ('STARTED', 'RESUMED', 'APPENDED', 'PUBLISHED', 'COMPLETED'));

GRANT INSERT ON control.rollback_plan_content, control.rollback_release TO fraud_rollback;

-- Reversals and reviews in the order of decisions.v1 that took the place of the record in force before them, so that a
-- reversal which was overtaken neither withdraws a case nor opens one. A decision without a row is itself in force.
CREATE TABLE review.record_in_force (
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    decision_id uuid NOT NULL,
    record_kind text NOT NULL CHECK (record_kind IN ('REVIEW', 'REVERSAL')),
    record_id uuid NOT NULL,
    outcome text CHECK (outcome IN ('ALLOW', 'BLOCK', 'ESCALATE')),  -- NULL: given back
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_partition, topic_offset)
);
CREATE INDEX record_in_force_decision ON review.record_in_force (decision_id, topic_offset);
SELECT control.make_append_only('review.record_in_force');
GRANT SELECT, INSERT ON review.record_in_force TO fraud_review;
-- A case about a payment that isn't held is withdrawn: what people decide of it would move nothing.
GRANT USAGE ON SCHEMA ledger TO fraud_review;
GRANT SELECT ON ledger.outcome_in_force TO fraud_review;

-- The rail may also owe an answer about the recall of a part.
DROP INDEX ledger.transition_doubt;
CREATE INDEX transition_doubt ON ledger.transition (execution_id, sequence)
    WHERE to_state IN ('IN_DOUBT', 'RECALL_IN_DOUBT', 'PART_RECALL_IN_DOUBT');

-- Money that was to be had back, and isn't: a case for a person, opened in the transaction of the step that left it out.
CREATE TABLE ledger.recovery_case (
    execution_id uuid NOT NULL REFERENCES ledger.execution,
    sequence integer NOT NULL CHECK (sequence > 0),
    reason text NOT NULL
        CHECK (reason IN ('BENEFICIARY_FUNDS_GONE', 'RECALL_REFUSED', 'PARTLY_RECALLED', 'PART_RECALL_REFUSED')),
    missing_minor bigint NOT NULL CHECK (missing_minor >= 0),  -- 0 of a payment of nothing
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, sequence)
);
SELECT control.make_append_only('ledger.recovery_case');
GRANT SELECT, INSERT ON ledger.recovery_case TO fraud_executor;
GRANT SELECT ON ledger.recovery_case TO fraud_review;

-- A person's word that a recovery case is done with, and how. Any number of rows may say so of one case: what nobody
-- signed, whoever holds the role's credential, keeps nobody from closing it (its key follows in 0090_people.sql).
CREATE TABLE review.recovery_closing (
    execution_id uuid NOT NULL,
    sequence integer NOT NULL,
    closed_by text NOT NULL CHECK (length(closed_by) BETWEEN 2 AND 64),
    reason text NOT NULL CHECK (length(btrim(reason)) BETWEEN 1 AND 4000),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (execution_id, sequence) REFERENCES ledger.recovery_case
);
CREATE INDEX recovery_closing_case ON review.recovery_closing (execution_id, sequence);
SELECT control.make_append_only('review.recovery_closing');
GRANT SELECT, INSERT ON review.recovery_closing TO fraud_review;
