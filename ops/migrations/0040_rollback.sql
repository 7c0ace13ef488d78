-- Rollback plans, who approved them, and how far each was carried out. All tables are append-only.

-- A plan. content_hash covers the header and every line; the lines are written in the same transaction. audited_until:
-- for each partition of decisions.v1, the offset up to which the audit log had been written.
CREATE TABLE control.rollback_plan (
    plan_id uuid PRIMARY KEY,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > requested_at),
    reason text NOT NULL CHECK (length(btrim(reason)) BETWEEN 1 AND 2000),
    criteria jsonb NOT NULL,
    good_model_version text NOT NULL,
    good_model_hash text NOT NULL,
    good_policy_version text NOT NULL,
    good_policy_hash text NOT NULL,
    breaker text NOT NULL CHECK (breaker IN ('RECORDED', 'CLOSED')),
    audited_until jsonb NOT NULL,
    decisions bigint NOT NULL CHECK (decisions >= 0),
    changing bigint NOT NULL CHECK (changing BETWEEN 0 AND decisions),
    blast_radius jsonb NOT NULL,
    content_hash bytea NOT NULL CHECK (length(content_hash) = 32),
    recorded_at timestamptz NOT NULL DEFAULT now()
);
SELECT control.make_append_only('control.rollback_plan', of_one_moment => true);

-- One decision of a plan; its columns are those of PlanLine in pipeline/rollback/reversal.py. payment_hex: the Avro
-- encoding of a payment that is to be decided anew.
CREATE TABLE control.rollback_plan_decision (
    plan_id uuid NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    decision_id uuid NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    amount_gbp_minor bigint NOT NULL CHECK (amount_gbp_minor >= -1),
    outcome_before text CHECK (outcome_before IN ('ALLOW', 'BLOCK', 'ESCALATE')),
    outcome_after text CHECK (outcome_after IN ('ALLOW', 'BLOCK', 'ESCALATE')),
    disposition text NOT NULL
        CHECK (disposition IN ('GIVEN_BACK', 'REVIEWED', 'UNDECIDABLE', 'UNCHANGED', 'REVERSE', 'RELEASE')),
    is_held boolean NOT NULL,
    is_in_review boolean NOT NULL,
    why text NOT NULL,
    payment_hex text NOT NULL,
    PRIMARY KEY (plan_id, position),
    UNIQUE (plan_id, decision_id),
    CHECK ((disposition = 'RELEASE') = (payment_hex <> '')),
    CHECK (disposition NOT IN ('REVERSE', 'RELEASE') OR outcome_before <> outcome_after)
);
CREATE INDEX rollback_plan_decision_decision ON control.rollback_plan_decision (decision_id);
SELECT control.make_append_only('control.rollback_plan_decision', of_one_moment => true);

-- The approval of exactly this content by another person.
CREATE TABLE control.rollback_approval (
    plan_id uuid PRIMARY KEY REFERENCES control.rollback_plan,
    approved_by text NOT NULL,
    approved_at timestamptz NOT NULL,
    content_hash bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
SELECT control.make_append_only('control.rollback_approval');

-- Who people are, and what they have signed, 0090_people.sql says.
CREATE FUNCTION control.refuse_own_approval() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    plan control.rollback_plan;
BEGIN
    SELECT * INTO plan FROM control.rollback_plan AS made WHERE made.plan_id = NEW.plan_id;
    IF NOT FOUND OR plan.content_hash <> NEW.content_hash OR control.is_same_person(plan.requested_by, NEW.approved_by) THEN
        RAISE EXCEPTION 'a plan is approved as it was made, and by another person than the one who made it'
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'ROLLBACK_APPROVED', NEW.approved_by, jsonb_build_object(
        'plan_id', NEW.plan_id, 'content_hash', encode(NEW.content_hash, 'hex'),
        'approved_at_ms', control.as_ms(NEW.approved_at)));
    IF NOT control.holds_role(NEW.approved_by, 'ROLLBACK_APPROVER') THEN
        RAISE EXCEPTION 'a plan is approved by a ROLLBACK_APPROVER' USING ERRCODE = 'check_violation';
    ELSIF NOT control.act_counts(plan.act, 'ROLLBACK_REQUESTER') THEN
        RAISE EXCEPTION 'whoever made the plan may make none any more' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse_own_approval BEFORE INSERT ON control.rollback_approval
    FOR EACH ROW EXECUTE FUNCTION control.refuse_own_approval();

-- How far a plan was carried out. Every so often a row gives the number of records that stand on the topic so far, and
-- the topic's ends, from which a resumed run looks for records that were appended after the row was written.
CREATE TABLE control.rollback_progress (
    plan_id uuid NOT NULL REFERENCES control.rollback_approval,
    sequence integer NOT NULL CHECK (sequence >= 1),
    kind text NOT NULL CHECK (kind IN ('STARTED', 'RESUMED', 'APPENDED', 'COMPLETED')),
    applied_by text NOT NULL,
    appended bigint NOT NULL CHECK (appended >= 0),
    end_offsets jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan_id, sequence)
);
CREATE UNIQUE INDEX rollback_progress_once ON control.rollback_progress (plan_id, kind)
    WHERE kind IN ('STARTED', 'COMPLETED');
SELECT control.make_append_only('control.rollback_progress');

GRANT INSERT ON control.rollback_plan, control.rollback_plan_decision, control.rollback_approval,
    control.rollback_progress TO fraud_rollback;
-- A case that a reversal opens takes its amounts from the plan.
GRANT SELECT ON control.rollback_plan_decision TO fraud_review;
