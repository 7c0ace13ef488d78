-- Promotion: how the champion moved, and what was refused (ADR 0046). The registry's chain of alias records is the truth of
-- what decides; these rows say who moved it and why, are chained with the other tables of control, and show a registry
-- that was put back.

ALTER TABLE control.person_grant
    DROP CONSTRAINT person_grant_role_check,
    ADD CONSTRAINT person_grant_role_check CHECK (role IN (
        'ADMIN', 'REVIEWER', 'SENIOR_REVIEWER', 'ROLLBACK_REQUESTER', 'ROLLBACK_APPROVER', 'OPERATOR', 'RISK', 'COMPLIANCE',
        'ENGINEERING'));

-- A record of the alias champion. sequence, record_sha256: the record's own. digest: of the version's artefact. act: what its
-- person signed; the stop rule has none, and neither has a record that was found in the registry afterwards, because
-- whoever moved the alias died before it was written here.
CREATE TABLE control.model_move (
    sequence integer PRIMARY KEY CHECK (sequence > 0),
    event text NOT NULL CHECK (event IN ('PROMOTED', 'STEPPED', 'ROLLED_BACK', 'STOPPED', 'FOUND')),
    version text NOT NULL CHECK (length(version) BETWEEN 1 AND 32),
    digest bytea NOT NULL CHECK (length(digest) = 32),
    previous_version text CHECK (length(previous_version) BETWEEN 1 AND 32),
    share_ppm integer NOT NULL CHECK (share_ppm BETWEEN 1 AND 1000000),
    record_sha256 bytea NOT NULL UNIQUE CHECK (length(record_sha256) = 32),
    moved_by text NOT NULL CHECK (length(moved_by) BETWEEN 1 AND 200),
    reason text NOT NULL CHECK (length(btrim(reason, E' \t\n\r\f\v')) BETWEEN 1 AND 2000),
    act bytea UNIQUE REFERENCES control.signed_act,
    moved_at timestamptz NOT NULL CHECK (isfinite(moved_at)),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((act IS NULL) = (event IN ('STOPPED', 'FOUND')))
);

-- A promotion or a step that was asked for and refused, with every reason. It moved nothing, so nobody has signed it.
CREATE TABLE control.model_refusal (
    refusal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked text NOT NULL CHECK (asked IN ('PROMOTE', 'STEP', 'ROLL_BACK')),
    version text NOT NULL CHECK (length(version) BETWEEN 1 AND 32),
    digest bytea CHECK (length(digest) = 32),
    asked_by text NOT NULL CHECK (length(asked_by) BETWEEN 1 AND 200),
    reasons jsonb NOT NULL CHECK (jsonb_typeof(reasons) = 'array' AND jsonb_array_length(reasons) BETWEEN 1 AND 1000
        AND octet_length(reasons::text) <= 262144),
    asked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_refusal_version ON control.model_refusal (version, asked_at);
SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.model_move', 'control.model_refusal']::regclass[]) AS logged;

-- What a person signs who moves the champion.
CREATE FUNCTION control.model_move_act(moved control.model_move) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('event', moved.event, 'version', moved.version, 'digest', encode(moved.digest, 'hex'),
        'share_ppm', moved.share_ppm, 'sequence', moved.sequence, 'reason', moved.reason)
$$;

CREATE FUNCTION control.check_model_move() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    latest integer := (SELECT max(before.sequence) FROM control.model_move AS before);
BEGIN
    NEW.recorded_at := now();
    IF latest IS NOT NULL AND NEW.sequence <> latest + 1 THEN
        RAISE EXCEPTION 'the champion''s moves are recorded one after another' USING ERRCODE = 'check_violation';
    ELSIF NEW.act IS NOT NULL THEN
        IF NOT control.holds_role(NEW.moved_by, 'OPERATOR') THEN
            RAISE EXCEPTION 'the champion is moved by an OPERATOR' USING ERRCODE = 'check_violation';
        END IF;
        PERFORM control.require_act(NEW.act, 'MODEL_MOVED', NEW.moved_by, control.model_move_act(NEW));
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_model_move BEFORE INSERT ON control.model_move
    FOR EACH ROW EXECUTE FUNCTION control.check_model_move();

-- One at a time: whoever moves the champion takes this turn first, until their transaction ends.
INSERT INTO control.turn (name) VALUES ('model');
CREATE FUNCTION control.take_model_turn() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT FROM control.turn WHERE turn.name = 'model' FOR NO KEY UPDATE
$$;

-- The rows that stand for acts, for whoever proves them all, with those that moved the champion.
DO $claimed$
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW control.claimed_act WITH (security_invoker = true) AS
        %s
        UNION ALL
        SELECT 'control.model_move', moved.sequence::text, moved.act, 'MODEL_MOVED', moved.moved_by,
            control.model_move_act(moved)
        FROM control.model_move AS moved WHERE moved.act IS NOT NULL
    $view$, rtrim(pg_get_viewdef('control.claimed_act'::regclass), '; '));
END
$claimed$;

-- Rights. People move the champion by the role that sees to incidents, which a rollback is; so does the stop rule.
GRANT INSERT ON control.model_move TO fraud_incident;
GRANT INSERT (asked, version, digest, asked_by, reasons) ON control.model_refusal TO fraud_incident;
SELECT control.follow(logged)
FROM unnest(ARRAY['control.model_move', 'control.model_refusal']::regclass[]) AS logged;
REVOKE EXECUTE ON FUNCTION control.model_move_act(control.model_move), control.check_model_move(),
    control.take_model_turn() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.model_move_act(control.model_move) TO fraud_incident, fraud_reader;
GRANT EXECUTE ON FUNCTION control.take_model_turn() TO fraud_incident;
