-- Alerts as people are told of them: groups, the outbox of messages, what people did, silences. All of it is append-only:
-- what stands in a group or an outbox follows from the rows about it (pipeline/oncall).

-- Roles. The service appends what it read and sent; people append what they signed, and neither the other's. Roles belong
-- to the whole server.
DO $roles$
DECLARE
    limited record;
BEGIN
    FOR limited IN SELECT * FROM (VALUES ('fraud_alerts', 6), ('fraud_oncall', 4)) AS role_limit (role_name, connections)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = limited.role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS',
                           limited.role_name);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), limited.role_name);
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', limited.role_name, limited.connections);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''60s''', limited.role_name);
        EXECUTE format('ALTER ROLE %I SET lock_timeout = ''15s''', limited.role_name);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''60s''', limited.role_name);
    END LOOP;
    -- With these two, the connections of all roles stay within PostgreSQL's default of 97.
    ALTER ROLE fraud_audit CONNECTION LIMIT 16;
    ALTER ROLE fraud_executor CONNECTION LIMIT 19;
END
$roles$;
GRANT fraud_service TO fraud_alerts;

-- Groups

-- What people are told of as one thing. The first record of it makes its id, so reading that again makes no second one.
CREATE TABLE control.alert_group (
    group_id uuid PRIMARY KEY,
    code text NOT NULL CHECK (length(code) BETWEEN 1 AND 100),
    scope text NOT NULL CHECK (length(scope) BETWEEN 1 AND 300),
    severity text NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'CRITICAL')),
    summary text NOT NULL CHECK (length(summary) <= 2000),
    evidence jsonb NOT NULL CHECK (octet_length(evidence::text) <= 262144),
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The alerts of a group, up to a bound; and whether each is over. Of a turn that is not the last, the next says more.
-- code, scope: the alert's own, which a group of further scopes or codes has not. raised_at_ms: as the alert says.
CREATE TABLE control.alert_turn (
    group_id uuid NOT NULL REFERENCES control.alert_group,
    alert_id text NOT NULL CHECK (length(alert_id) BETWEEN 1 AND 100),
    turn integer NOT NULL CHECK (turn > 0),
    is_over boolean NOT NULL,
    code text NOT NULL CHECK (length(code) BETWEEN 1 AND 100),
    scope text NOT NULL CHECK (length(scope) BETWEEN 1 AND 300),
    raised_at_ms bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (group_id, alert_id, turn)
);

-- What became of a group, in order. records: alerts that were read, repeats among them. told: how many a message says.
-- raised_at_ms: of RAISED, the latest time that these alerts say. Only a person acknowledges; what is in a person's name
-- has the act that this person signed, and whoever reads it proves the act.
CREATE TABLE control.alert_event (
    group_id uuid NOT NULL REFERENCES control.alert_group,
    sequence integer NOT NULL CHECK (sequence > 0),
    kind text NOT NULL CHECK (kind IN ('RAISED', 'TOLD', 'ESCALATED', 'ACKNOWLEDGED', 'RESOLVED')),
    records bigint NOT NULL DEFAULT 0 CHECK (records >= 0),
    level integer NOT NULL DEFAULT 0 CHECK (level >= 0),
    is_counted boolean NOT NULL DEFAULT false,
    raised_at_ms bigint,
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 100),
    note text CHECK (length(note) <= 2000),
    act bytea UNIQUE REFERENCES control.signed_act,  -- of a person's
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (group_id, sequence),
    CHECK ((kind = 'RAISED') = (raised_at_ms IS NOT NULL)),
    CHECK ((actor = 'system:alerts') = (act IS NULL)),
    CHECK (kind <> 'ACKNOWLEDGED' OR act IS NOT NULL),
    CHECK (act IS NULL OR kind IN ('ACKNOWLEDGED', 'RESOLVED') AND note IS NOT NULL)
);
-- The service ends a group once. An end in a person's name that nobody proves must not keep a genuine one out.
CREATE UNIQUE INDEX alert_event_one_end ON control.alert_event (group_id) WHERE kind = 'RESOLVED' AND act IS NULL;
CREATE INDEX alert_event_people ON control.alert_event (recorded_at) WHERE act IS NOT NULL;

-- The outbox

-- A message to a sink. Its id follows from group, sink and number, and is the key at sinks that take one.
CREATE TABLE control.alert_delivery (
    delivery_id uuid PRIMARY KEY,
    group_id uuid NOT NULL REFERENCES control.alert_group,
    sink text NOT NULL CHECK (length(sink) BETWEEN 1 AND 64),
    number integer NOT NULL CHECK (number > 0),
    kind text NOT NULL CHECK (kind IN
        ('TRIGGERED', 'COUNTED', 'ESCALATED', 'ACKNOWLEDGED', 'RESOLVED', 'NOTICED')),
    message jsonb NOT NULL CHECK (octet_length(message::text) <= 524288),
    planned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (group_id, sink, number)
);

-- What was tried with a message: SENDING before each attempt, and then how it ended. A SENDING without an end is an attempt
-- during which the service died: nobody knows whether it arrived. PARTLY: the sink took it, and some recipients are to be
-- tried again; waiting names them, by digests of their addresses.
CREATE TABLE control.alert_attempt (
    delivery_id uuid NOT NULL REFERENCES control.alert_delivery,
    sequence integer NOT NULL CHECK (sequence > 0),
    kind text NOT NULL CHECK (kind IN
        ('SENDING', 'DELIVERED', 'PARTLY', 'LATER', 'IN_DOUBT', 'REFUSED', 'GAVE_UP', 'DOUBTFUL')),
    why text NOT NULL DEFAULT '' CHECK (length(why) <= 500),
    receipt text CHECK (length(receipt) <= 300),
    again_at timestamptz,
    waiting text[] CHECK ((cardinality(waiting) BETWEEN 1 AND 1000) IS NOT FALSE
        AND (waiting IS NOT NULL) = (kind = 'PARTLY')),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (delivery_id, sequence)
);
-- A message has one end.
CREATE UNIQUE INDEX alert_attempt_one_end ON control.alert_attempt (delivery_id)
    WHERE kind IN ('DELIVERED', 'REFUSED', 'GAVE_UP', 'DOUBTFUL');

-- What the service has to say itself, stored with the end of the message, or with the positions of the records, that it
-- is about; and that it stands on alerts.v1. Nothing else is ever told in this way, so that a row here can't call an alert off.
CREATE TABLE control.own_alert (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert jsonb NOT NULL CHECK (coalesce(alert ->> 'code', '') IN ('ALERT_NOT_DELIVERED', 'ALERTS_FORGED')
        AND octet_length(alert::text) <= 16384),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE control.own_alert_told (
    sequence bigint PRIMARY KEY REFERENCES control.own_alert,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- People

CREATE TABLE control.alert_act (
    act bytea PRIMARY KEY REFERENCES control.signed_act,
    group_id uuid NOT NULL REFERENCES control.alert_group,
    kind text NOT NULL CHECK (kind IN ('ACKNOWLEDGED', 'RESOLVED')),
    acted_by text NOT NULL,
    note text NOT NULL CHECK (length(btrim(note)) BETWEEN 1 AND 2000),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- No message is sent about groups that a silence matches. Each of code, scope and severity is a pattern with * and ?.
CREATE TABLE control.alert_silence (
    silence_id uuid PRIMARY KEY,
    code text NOT NULL CHECK (length(code) BETWEEN 1 AND 100),
    scope text NOT NULL CHECK (length(scope) BETWEEN 1 AND 300),
    severity text NOT NULL CHECK (severity IN ('*', 'INFO', 'WARNING', 'CRITICAL')),
    ends_at timestamptz NOT NULL,
    reason text NOT NULL CHECK (length(btrim(reason)) BETWEEN 10 AND 2000),
    silenced_by text NOT NULL,
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act,
    began_at timestamptz NOT NULL
);
CREATE TABLE control.alert_silence_end (
    silence_id uuid PRIMARY KEY REFERENCES control.alert_silence,
    ended_by text NOT NULL,
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act,
    ended_at timestamptz NOT NULL
);

CREATE FUNCTION control.check_alert_act() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM control.require_act(NEW.act, 'ALERT_' || NEW.kind, NEW.acted_by,
        jsonb_build_object('group_id', NEW.group_id, 'note', NEW.note));
    IF NOT control.holds_role(NEW.acted_by, 'OPERATOR') THEN
        RAISE EXCEPTION 'alerts are acknowledged and resolved by an OPERATOR' USING ERRCODE = 'check_violation';
    END IF;
    NEW.recorded_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER check_alert_act BEFORE INSERT ON control.alert_act
    FOR EACH ROW EXECUTE FUNCTION control.check_alert_act();

CREATE FUNCTION control.check_alert_silence() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.began_at := clock_timestamp();
    PERFORM control.require_act(NEW.act, 'ALERTS_SILENCED', NEW.silenced_by, jsonb_build_object(
        'silence_id', NEW.silence_id, 'code', NEW.code, 'scope', NEW.scope, 'severity', NEW.severity,
        'ends_at_ms', control.as_ms(NEW.ends_at), 'reason', NEW.reason));
    IF NOT control.holds_role(NEW.silenced_by, 'OPERATOR') THEN
        RAISE EXCEPTION 'alerts are silenced by an OPERATOR' USING ERRCODE = 'check_violation';
    ELSIF NEW.ends_at <= NEW.began_at OR NEW.ends_at > NEW.began_at + interval '7 days' THEN
        RAISE EXCEPTION 'a silence ends within 7 days' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_alert_silence BEFORE INSERT ON control.alert_silence
    FOR EACH ROW EXECUTE FUNCTION control.check_alert_silence();

CREATE FUNCTION control.check_alert_silence_end() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.ended_at := clock_timestamp();
    PERFORM control.require_act(NEW.act, 'ALERTS_UNSILENCED', NEW.ended_by,
        jsonb_build_object('silence_id', NEW.silence_id));
    IF NOT control.holds_role(NEW.ended_by, 'OPERATOR') THEN
        RAISE EXCEPTION 'a silence is ended by an OPERATOR' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_alert_silence_end BEFORE INSERT ON control.alert_silence_end
    FOR EACH ROW EXECUTE FUNCTION control.check_alert_silence_end();

-- Nobody answers in another's name: what is stored as a person's is what this person signed, about this group.
CREATE FUNCTION control.check_alert_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.act IS NOT NULL AND NOT EXISTS (
        SELECT FROM control.alert_act AS done
        WHERE done.act = NEW.act AND done.group_id = NEW.group_id AND done.kind = NEW.kind
            AND done.acted_by = NEW.actor AND done.note = NEW.note
    ) THEN
        RAISE EXCEPTION '% has not signed this', NEW.actor USING ERRCODE = 'check_violation';
    END IF;
    NEW.recorded_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER check_alert_event BEFORE INSERT ON control.alert_event
    FOR EACH ROW EXECUTE FUNCTION control.check_alert_event();

SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.alert_group', 'control.alert_turn', 'control.alert_event', 'control.alert_delivery',
                  'control.alert_attempt', 'control.alert_act', 'control.alert_silence', 'control.alert_silence_end',
                  'control.own_alert', 'control.own_alert_told']::regclass[]) AS logged;

-- The service runs once: whoever has this turn sends. A function of its own, so that it can hold up nobody else's.
INSERT INTO control.turn (name) VALUES ('alerts');
CREATE FUNCTION control.take_alerts_turn() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM 1 FROM control.turn WHERE turn.name = 'alerts' FOR NO KEY UPDATE;
END
$$;

-- Every row that stands for a person's act, these among them. The view is made of what it was, whatever came before.
DO $claimed$
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW control.claimed_act WITH (security_invoker = true) AS %s
        UNION ALL
        SELECT 'control.alert_act', group_id::text, act, 'ALERT_' || kind, acted_by,
            jsonb_build_object('group_id', group_id, 'note', note)
        FROM control.alert_act
        UNION ALL
        SELECT 'control.alert_event', format('%%s %%s', group_id, sequence), act, 'ALERT_' || kind, actor,
            jsonb_build_object('group_id', group_id, 'note', note)
        FROM control.alert_event WHERE kind = 'ACKNOWLEDGED' OR act IS NOT NULL OR actor <> 'system:alerts'
        UNION ALL
        SELECT 'control.alert_silence', silence_id::text, act, 'ALERTS_SILENCED', silenced_by, jsonb_build_object(
            'silence_id', silence_id, 'code', code, 'scope', scope, 'severity', severity,
            'ends_at_ms', control.as_ms(ends_at), 'reason', reason)
        FROM control.alert_silence
        UNION ALL
        SELECT 'control.alert_silence_end', silence_id::text, act, 'ALERTS_UNSILENCED', ended_by,
            jsonb_build_object('silence_id', silence_id)
        FROM control.alert_silence_end
    $view$, rtrim(pg_get_viewdef('control.claimed_act'::regclass), ';'));
END
$claimed$;

-- Rights
REVOKE EXECUTE ON FUNCTION control.check_alert_event(), control.check_alert_act(), control.check_alert_silence(), control.check_alert_silence_end(), control.take_alerts_turn() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.take_alerts_turn() TO fraud_alerts;
GRANT SELECT ON control.alert_group, control.alert_turn, control.alert_event, control.alert_delivery,
    control.alert_attempt, control.alert_act, control.alert_silence, control.alert_silence_end TO fraud_alerts, fraud_oncall;
GRANT SELECT ON control.own_alert, control.own_alert_told TO fraud_alerts;
GRANT INSERT ON control.alert_group, control.alert_turn, control.alert_event, control.alert_delivery,
    control.alert_attempt, control.own_alert, control.own_alert_told TO fraud_alerts;

GRANT USAGE ON SCHEMA control TO fraud_oncall;
GRANT SELECT ON control.signed_act, control.person, control.person_key, control.key_revocation, control.person_grant
    TO fraud_oncall;
GRANT EXECUTE ON FUNCTION control.holds_role(text, text), control.folded(text), control.is_same_person(text, text),
    control.is_key_of(text, text, boolean), control.require_act(bytea, text, text, jsonb),
    control.act_counts(bytea, text[]), control.as_ms(timestamptz) TO fraud_oncall;
GRANT INSERT (content, signature, evidence) ON control.signed_act TO fraud_oncall;
GRANT INSERT ON control.alert_act, control.alert_silence, control.alert_silence_end TO fraud_oncall;

SELECT control.follow(logged)
FROM unnest(ARRAY['control.alert_group', 'control.alert_turn', 'control.alert_event', 'control.alert_delivery',
                  'control.alert_attempt', 'control.alert_act', 'control.alert_silence', 'control.alert_silence_end',
                  'control.own_alert', 'control.own_alert_told']::regclass[]) AS logged;
