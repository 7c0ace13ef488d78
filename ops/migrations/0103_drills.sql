-- Drills: that something was made to go wrong on purpose, and what became of it (ADR 0034). The report stands in a file;
-- its hash and its signature stand here, so that neither can be changed unseen.

-- is_full: with the windows of the policy in force, and on a broker that keeps what it takes; only such a drill counts
-- towards the schedule. figures: what was measured, against which objective, and whether it was met.
CREATE TABLE control.drill_record (
    drill_id text PRIMARY KEY CHECK (drill_id ~ '^[0-9a-f]{8}$'),
    drill text NOT NULL CHECK (drill ~ '^[a-z][a-z-]{1,39}$'),
    verdict text NOT NULL CHECK (verdict IN ('PASSED', 'FAILED', 'NOT_CARRIED_OUT')),
    why text NOT NULL CHECK (length(why) <= 2000),
    is_full boolean NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL CHECK (ended_at >= started_at),
    carried_out_by text NOT NULL CHECK (length(carried_out_by) BETWEEN 1 AND 200),
    policy_version text NOT NULL,
    policy_sha256 bytea NOT NULL CHECK (length(policy_sha256) = 32),
    model_version text NOT NULL,
    figures jsonb NOT NULL CHECK (octet_length(figures::text) <= 262144),
    report_sha256 bytea NOT NULL UNIQUE CHECK (length(report_sha256) = 32),
    key_id text NOT NULL CHECK (key_id ~ '^[0-9a-f]{16}$'),
    signature bytea NOT NULL CHECK (length(signature) = 64),
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX drill_record_drill ON control.drill_record (drill, ended_at);
SELECT control.make_append_only('control.drill_record');

-- A record is written when its drill has ended: nobody fills in a quarter that was missed.
CREATE FUNCTION control.check_drill_record() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF abs(extract(epoch FROM clock_timestamp() - NEW.ended_at)) > 3600 THEN
        RAISE EXCEPTION 'a drill is recorded when it ends' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_drill_record BEFORE INSERT ON control.drill_record
    FOR EACH ROW EXECUTE FUNCTION control.check_drill_record();
REVOKE EXECUTE ON FUNCTION control.check_drill_record() FROM PUBLIC;
SELECT control.follow('control.drill_record');

-- Nobody but the owner writes: whoever carries out drills may do everything. Reconciliation, which reads everything,
-- looks which are due.
