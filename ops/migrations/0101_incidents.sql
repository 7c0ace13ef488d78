-- Incidents: what the breaker did, what on-call was told, and what people did about it (ADR 0029).
--
-- The incident service reads alerts.v1. Its rows are keyed by what an alert says and when it was raised, so that a
-- record which is read twice, or stands on the topic twice, is one row. People's acts are signed, as everywhere else.

-- Roles

-- The incident service, and people who act on incidents. It reads everything, because an incident says what it touched.
DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraud_incident') THEN
        CREATE ROLE fraud_incident LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    ALTER ROLE fraud_incident CONNECTION LIMIT 4;
    ALTER ROLE fraud_incident SET statement_timeout = '60s';
    ALTER ROLE fraud_incident SET lock_timeout = '15s';
    ALTER ROLE fraud_incident SET idle_in_transaction_session_timeout = '60s';
    -- All limits together stay below the 97 connections that PostgreSQL's default has room for besides superusers.
    ALTER ROLE fraud_review CONNECTION LIMIT 12;
END
$roles$;
GRANT fraud_service, fraud_reader TO fraud_incident;

-- Transitions

-- Every transition of the breaker that was told on alerts.v1. alert_id follows from what the alert says, and not from
-- the id that it claims. counts: over the window that was looked at. evidence: all that the alert said. version is NULL
-- where it can't be read.
CREATE TABLE control.breaker_transition (
    alert_id uuid PRIMARY KEY,
    scope text NOT NULL,
    event text NOT NULL,
    before_state text NOT NULL,
    after_state text NOT NULL,
    version bigint,
    author text NOT NULL,
    cause text NOT NULL,
    counts jsonb NOT NULL,
    evidence jsonb NOT NULL,
    at timestamptz NOT NULL CHECK (isfinite(at)),
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX breaker_transition_scope ON control.breaker_transition (scope, at);

-- Incidents

-- opened_by and raised_at: the alert that opened it. suspect_since: from when on its decisions are looked at, which is
-- before anybody noticed.
CREATE TABLE control.incident (
    incident_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind ~ '^[A-Z_]{2,40}$'),
    opened_by uuid NOT NULL,
    raised_at timestamptz NOT NULL CHECK (isfinite(raised_at)),
    suspect_since timestamptz NOT NULL CHECK (suspect_since <= raised_at AND isfinite(suspect_since)),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (opened_by, raised_at)
);
CREATE INDEX incident_raised ON control.incident (raised_at);

-- The alerts of an incident: the one that opened it, and those that joined it. Each raising of an alert is in one.
CREATE TABLE control.incident_alert (
    alert_id uuid NOT NULL,
    raised_at timestamptz NOT NULL CHECK (isfinite(raised_at)),
    incident_id uuid NOT NULL REFERENCES control.incident,
    code text NOT NULL,
    severity text NOT NULL,
    summary text NOT NULL,
    scope text NOT NULL,
    evidence jsonb NOT NULL,
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (alert_id, raised_at)
);
CREATE INDEX incident_alert_incident ON control.incident_alert (incident_id, raised_at);

-- What people did about an incident. criterion and answer: a note's word on one of DORA's criteria. assessment: what
-- was known when it was resolved, as JSON, which the act covers.
CREATE TABLE control.incident_event (
    incident_id uuid NOT NULL REFERENCES control.incident,
    sequence integer NOT NULL CHECK (sequence >= 1),
    kind text NOT NULL CHECK (kind IN ('ACKNOWLEDGED', 'NOTED', 'RESOLVED')),
    actor text NOT NULL CHECK (length(actor) BETWEEN 2 AND 64),
    at timestamptz NOT NULL,
    text text NOT NULL CHECK (length(btrim(text)) BETWEEN 1 AND 4000),
    criterion text CHECK (criterion ~ '^[A-Z_]{2,40}$'),
    answer text CHECK (answer IN ('MET', 'NOT_MET')),
    assessment text CHECK (octet_length(assessment) BETWEEN 2 AND 1048576),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (incident_id, sequence),
    CHECK ((criterion IS NULL) = (answer IS NULL)),
    CHECK (criterion IS NULL OR kind = 'NOTED'),
    CHECK ((assessment IS NOT NULL) = (kind = 'RESOLVED'))
);
SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.breaker_transition', 'control.incident', 'control.incident_alert',
                  'control.incident_event']::regclass[]) AS logged;

-- An event is exactly what its author signed, and its author may do that. Whether an incident is open is judged by
-- those who prove the signatures, because a forged event must not keep a genuine one out.
CREATE FUNCTION control.check_incident_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.sequence > 1 AND NOT EXISTS (
        SELECT FROM control.incident_event AS before
        WHERE before.incident_id = NEW.incident_id AND before.sequence = NEW.sequence - 1
    ) THEN
        RAISE EXCEPTION 'the events of an incident have no gaps' USING ERRCODE = 'check_violation';
    ELSIF abs(extract(epoch FROM clock_timestamp() - NEW.at)) > 300 THEN
        RAISE EXCEPTION 'an act is stored when it is made' USING ERRCODE = 'check_violation';
    ELSIF NOT control.holds_role(NEW.actor, 'OPERATOR') THEN
        RAISE EXCEPTION 'incidents are seen to by an OPERATOR' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'INCIDENT_' || NEW.kind, NEW.actor, jsonb_build_object(
        'incident_id', NEW.incident_id, 'sequence', NEW.sequence, 'event_at_ms', control.as_ms(NEW.at),
        'text', NEW.text, 'criterion', NEW.criterion, 'answer', NEW.answer,
        'assessment_sha256', encode(sha256(convert_to(NEW.assessment, 'UTF8')), 'hex')));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_incident_event BEFORE INSERT ON control.incident_event
    FOR EACH ROW EXECUTE FUNCTION control.check_incident_event();

-- One at a time decides whether an alert joins an incident, or an act ends it: an alert must never join what somebody
-- resolves at the same moment. Nobody else can hold this up, as it has a turn of its own.
INSERT INTO control.turn (name) VALUES ('incident');
CREATE FUNCTION control.take_incident_turn() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT FROM control.turn WHERE turn.name = 'incident' FOR NO KEY UPDATE
$$;

-- The rows that stand for acts, for whoever proves them all, with those of incidents.
DO $claimed$
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW control.claimed_act WITH (security_invoker = true) AS
        %s
        UNION ALL
        SELECT 'control.incident_event', format('%%s %%s', incident_id, sequence), act, 'INCIDENT_' || kind, actor,
            jsonb_build_object(
                'incident_id', incident_id, 'sequence', sequence, 'event_at_ms', control.as_ms(at), 'text', text,
                'criterion', criterion, 'answer', answer,
                'assessment_sha256', encode(sha256(convert_to(assessment, 'UTF8')), 'hex'))
        FROM control.incident_event
    $view$, rtrim(pg_get_viewdef('control.claimed_act'::regclass), '; '));
END
$claimed$;

-- Rights

GRANT INSERT ON control.breaker_transition, control.incident, control.incident_alert, control.incident_event
    TO fraud_incident;
SELECT control.follow(logged)
FROM unnest(ARRAY['control.breaker_transition', 'control.incident', 'control.incident_alert',
                  'control.incident_event']::regclass[]) AS logged;
REVOKE EXECUTE ON FUNCTION control.check_incident_event(), control.take_incident_turn() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.holds_role(text, text), control.is_key_of(text, text, boolean),
    control.require_act(bytea, text, text, jsonb), control.as_ms(timestamptz), control.take_incident_turn()
    TO fraud_incident;
GRANT INSERT (content, signature, evidence) ON control.signed_act TO fraud_incident;
