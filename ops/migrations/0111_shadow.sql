-- Shadow: what a challenger would have answered beside the champion, and what people say of the two's disagreements
-- (ADR 0045). Nothing here decides anything, and no role that decides reads it.

-- The role of the shadow's process. It reads and writes nothing but its own, so that whoever takes it over has nothing.
DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraud_shadow') THEN
        CREATE ROLE fraud_shadow LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO fraud_shadow', current_database());
    ALTER ROLE fraud_shadow CONNECTION LIMIT 3;
    ALTER ROLE fraud_shadow SET statement_timeout = '60s';
    ALTER ROLE fraud_shadow SET lock_timeout = '15s';
    ALTER ROLE fraud_shadow SET idle_in_transaction_session_timeout = '60s';
    -- All limits together stay below the 97 connections that PostgreSQL's default has room for besides superusers.
    ALTER ROLE fraud_reader CONNECTION LIMIT 13;
END
$roles$;
GRANT fraud_service TO fraud_shadow;

CREATE SCHEMA shadow;
REVOKE ALL ON SCHEMA shadow FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA shadow GRANT SELECT ON TABLES TO fraud_reader;
GRANT USAGE ON SCHEMA shadow TO fraud_shadow, fraud_reader, fraud_review;

-- Where a challenger began in a partition of decisions.v1: at what was the end then, since what was decided before it was
-- there is no time that it was in the shadow. From there on it answers every record in its order. digest: of the
-- challenger's files; other bytes under the same version are another challenger.
CREATE TABLE shadow.beginning (
    digest bytea NOT NULL CHECK (length(digest) = 32),
    version text NOT NULL CHECK (length(version) BETWEEN 1 AND 32),
    kind text NOT NULL CHECK (kind IN ('GLASS_BOX', 'ONNX')),
    topic text NOT NULL CHECK (length(topic) BETWEEN 1 AND 249),
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    first_offset bigint NOT NULL CHECK (first_offset >= 0),
    begun_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (digest, topic, topic_partition)
);
SELECT control.make_append_only('shadow.beginning');

-- One answer a decision and challenger. filed_at: the broker's time of the decision's record, or the epoch where no month
-- takes it; decided_at: that time, always. answered_at: by the server's clock. amount_gbp_minor: -1 where it isn't known.
-- standing: whether the two were compared, and else why not. A probability is -1, and an outcome NULL, where none was given.
CREATE TABLE shadow.answer (
    digest bytea NOT NULL CHECK (length(digest) = 32),
    decision_id uuid NOT NULL,
    filed_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    transaction_id text NOT NULL CHECK (length(transaction_id) <= 200),
    segments text[] NOT NULL CHECK (cardinality(segments) <= 8 AND octet_length(segments::text) <= 4000),
    amount_gbp_minor bigint NOT NULL CHECK (amount_gbp_minor >= -1),
    standing text NOT NULL CHECK (standing IN
        ('COMPARED', 'SAME_MODEL', 'GUARDRAIL', 'FALLBACK', 'VALUE_UNKNOWN', 'REGIME_MISSING', 'FAILED')),
    champion_version text NOT NULL CHECK (length(champion_version) <= 100),
    champion_outcome text NOT NULL CHECK (champion_outcome IN ('ALLOW', 'BLOCK', 'ESCALATE')),
    challenger_outcome text CHECK (challenger_outcome IN ('ALLOW', 'BLOCK', 'ESCALATE')),
    champion_ppm integer NOT NULL CHECK (champion_ppm BETWEEN -1 AND 1000000),
    challenger_ppm integer NOT NULL CHECK (challenger_ppm BETWEEN -1 AND 1000000),
    champion_says text CHECK (length(champion_says) <= 2000),
    challenger_says text CHECK (length(challenger_says) <= 2000),
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    PRIMARY KEY (digest, decision_id, filed_at),
    CHECK ((standing = 'COMPARED') = (challenger_outcome IS NOT NULL)),
    CHECK ((standing = 'COMPARED') = (challenger_ppm >= 0))
) PARTITION BY RANGE (filed_at);
CREATE INDEX ON shadow.answer (digest, transaction_id);
CREATE INDEX answer_differs ON shadow.answer (digest, decided_at)
    WHERE standing = 'COMPARED' AND challenger_outcome <> champion_outcome;
SELECT control.make_append_only('shadow.answer');

-- What a person says of a disagreement. It stands with what else people signed, and is proved as that is. outcomes: the
-- champion's and the challenger's, as the person saw them.
CREATE TABLE control.disagreement_review (
    act bytea PRIMARY KEY REFERENCES control.signed_act,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    decision_id uuid NOT NULL,
    outcomes text NOT NULL CHECK (length(outcomes) BETWEEN 1 AND 40),
    verdict text NOT NULL CHECK (verdict IN ('CHAMPION_RIGHT', 'CHALLENGER_RIGHT', 'UNCLEAR')),
    reason text NOT NULL CHECK (length(btrim(reason, E' \t\n\r\f\v')) BETWEEN 10 AND 500),
    reviewed_by text NOT NULL,
    reviewed_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON control.disagreement_review (digest, decision_id, reviewed_by);
SELECT control.make_append_only('control.disagreement_review');

-- What a person signs of a disagreement.
CREATE FUNCTION control.disagreement_act(reviewed control.disagreement_review) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('challenger', encode(reviewed.digest, 'hex'), 'decision_id', reviewed.decision_id,
        'outcomes', reviewed.outcomes, 'verdict', reviewed.verdict, 'reason', reviewed.reason)
$$;

CREATE FUNCTION control.check_disagreement_review() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.reviewed_at := now();
    IF NOT EXISTS (
        SELECT FROM shadow.answer AS given
        WHERE given.digest = NEW.digest AND given.decision_id = NEW.decision_id AND given.standing = 'COMPARED'
            AND given.challenger_outcome <> given.champion_outcome
            AND given.champion_outcome || ' ' || given.challenger_outcome = NEW.outcomes
    ) THEN
        RAISE EXCEPTION 'the two models do not disagree so about this payment' USING ERRCODE = 'check_violation';
    ELSIF NOT (control.holds_role(NEW.reviewed_by, 'REVIEWER') OR control.holds_role(NEW.reviewed_by, 'SENIOR_REVIEWER'))
    THEN
        RAISE EXCEPTION 'a disagreement is reviewed by a REVIEWER' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'DISAGREEMENT_REVIEWED', NEW.reviewed_by, control.disagreement_act(NEW));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_disagreement_review BEFORE INSERT ON control.disagreement_review
    FOR EACH ROW EXECUTE FUNCTION control.check_disagreement_review();

-- The rows that stand for acts, for whoever proves them all, with those about disagreements.
DO $claimed$
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW control.claimed_act WITH (security_invoker = true) AS
        %s
        UNION ALL
        SELECT 'control.disagreement_review', encode(reviewed.act, 'hex'), reviewed.act, 'DISAGREEMENT_REVIEWED',
            reviewed.reviewed_by, control.disagreement_act(reviewed)
        FROM control.disagreement_review AS reviewed
    $view$, rtrim(pg_get_viewdef('control.claimed_act'::regclass), '; '));
END
$claimed$;

-- Rights. Whoever reviews payments reviews disagreements.
GRANT SELECT, INSERT ON shadow.beginning, shadow.answer TO fraud_shadow;
GRANT SELECT ON shadow.beginning, shadow.answer TO fraud_reader, fraud_review;
REVOKE INSERT ON shadow.answer FROM fraud_shadow;
GRANT INSERT (digest, decision_id, filed_at, decided_at, transaction_id, segments, amount_gbp_minor, standing,
    champion_version, champion_outcome, challenger_outcome, champion_ppm, challenger_ppm, champion_says, challenger_says,
    topic_partition, topic_offset) ON shadow.answer TO fraud_shadow;  -- and never when it answered
GRANT INSERT (consumer, topic, topic_partition, topic_offset, why, key_id, record_sha256, at) ON control.unproved_record
    TO fraud_shadow;
GRANT INSERT ON control.disagreement_review TO fraud_review;
GRANT SELECT ON control.disagreement_review TO fraud_review;
SELECT control.follow('control.disagreement_review');
REVOKE EXECUTE ON FUNCTION control.disagreement_act(control.disagreement_review), control.check_disagreement_review()
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.disagreement_act(control.disagreement_review) TO fraud_review, fraud_reader;
