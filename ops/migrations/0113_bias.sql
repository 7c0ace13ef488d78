-- Bias and drift: what the monitor has counted and how the evidence stands (ADR 0047). It reads decisions.v1 and labels.v1,
-- and appends here. Each state is whole and continues the one before, so a restart goes on where the last one stands, and
-- two monitors can't both go on from it.

-- Roles
DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraud_bias') THEN
        CREATE ROLE fraud_bias LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    ALTER ROLE fraud_bias CONNECTION LIMIT 3;
    ALTER ROLE fraud_bias SET statement_timeout = '60s';
    ALTER ROLE fraud_bias SET lock_timeout = '15s';
    ALTER ROLE fraud_bias SET idle_in_transaction_session_timeout = '60s';
    -- All limits together stay within PostgreSQL's default of 97.
    ALTER ROLE fraud_executor CONNECTION LIMIT 16;
END
$roles$;
GRANT fraud_service, fraud_reader TO fraud_bias;

-- The evidence after a minute, as the monitor goes on from it. Some 50 KB every five minutes, a sixth of that compressed.
CREATE TABLE control.bias_state (
    sequence bigint PRIMARY KEY CHECK (sequence >= 1),
    minute bigint NOT NULL CHECK (minute >= 0),
    state jsonb NOT NULL CHECK (octet_length(state::text) <= 4194304),
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- What was counted between a state and the one before it, by model version: scopes, each with its counts; and what the
-- model was asked, in the bins of its reference.
CREATE TABLE control.bias_span (
    sequence bigint NOT NULL REFERENCES control.bias_state,
    model_version text NOT NULL CHECK (length(model_version) <= 64),
    until_ms bigint NOT NULL CHECK (until_ms >= 0),
    counts jsonb NOT NULL CHECK (octet_length(counts::text) <= 4194304),
    inputs jsonb NOT NULL CHECK (octet_length(inputs::text) <= 4194304),
    PRIMARY KEY (sequence, model_version)
);
CREATE INDEX bias_span_until ON control.bias_span (until_ms);

-- What a payment turned out to be: the first word on each decision counts, by a label or by a review.
CREATE TABLE control.bias_known (
    decision_id uuid PRIMARY KEY,
    is_fraud boolean NOT NULL,
    is_by_review boolean NOT NULL,
    sequence bigint NOT NULL REFERENCES control.bias_state DEFERRABLE INITIALLY DEFERRED,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- Gaps as they opened and ended. counts: of the segment and of the rest, since the evidence began.
CREATE TABLE control.bias_gap (
    scope text NOT NULL CHECK (length(scope) BETWEEN 1 AND 300),
    measure text NOT NULL CHECK (measure IN ('BLOCK', 'ESCALATE', 'STOP', 'FALSE_STOP')),
    opened_minute bigint NOT NULL CHECK (opened_minute >= 0),
    kind text NOT NULL CHECK (kind IN ('OPENED', 'ENDED')),
    sequence bigint NOT NULL REFERENCES control.bias_state,
    minute bigint NOT NULL CHECK (minute >= opened_minute),
    counts jsonb NOT NULL CHECK (octet_length(counts::text) <= 4096),
    PRIMARY KEY (scope, measure, opened_minute, kind)
);
SELECT control.make_append_only(logged) FROM unnest(ARRAY['control.bias_state', 'control.bias_span',
    'control.bias_known', 'control.bias_gap']::regclass[]) AS logged;

-- A state continues the newest one.
CREATE FUNCTION control.check_bias_state() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.sequence <> 1 + coalesce((SELECT max(sequence) FROM control.bias_state), 0) THEN
        RAISE EXCEPTION 'a state continues the newest one' USING ERRCODE = 'check_violation';
    END IF;
    NEW.recorded_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER check_bias_state BEFORE INSERT ON control.bias_state
    FOR EACH ROW EXECUTE FUNCTION control.check_bias_state();
REVOKE EXECUTE ON FUNCTION control.check_bias_state() FROM PUBLIC;

GRANT INSERT ON control.bias_state, control.bias_span, control.bias_known, control.bias_gap TO fraud_bias;
GRANT SELECT ON control.bias_state, control.bias_span, control.bias_known, control.bias_gap TO fraud_reader;
SELECT control.follow('control.bias_gap');
