-- People who have proved who they are: every act of a person is signed, and is stored beside what it is about.
--
-- PostgreSQL can't check an Ed25519 signature. The triggers hold what needs none: that a row is exactly what its act
-- says, that the act is its author's, made just now and used once, and that author, key and role are in order. Whoever
-- acts on a row proves the signature first (pipeline/people/act_store.py).

-- Ids

-- RFC 4122's UUID by a name, as pipeline/domain/identities.py has them: by SHA-1, which the server itself does not
-- have. A millisecond a call, for rows that people cause.
CREATE FUNCTION control.uuid5(namespace uuid, name text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
    mask CONSTANT bigint := 4294967295;
    message bytea := uuid_send(namespace) || convert_to(name, 'UTF8');
    h0 bigint := 1732584193;
    h1 bigint := 4023233417;
    h2 bigint := 2562383102;
    h3 bigint := 271733878;
    h4 bigint := 3285377520;
    a bigint;
    b bigint;
    c bigint;
    d bigint;
    e bigint;
    f bigint;
    word bigint;
    words bigint[];
    hex text;
BEGIN
    message := message || '\x80'::bytea || decode(repeat('00', (119 - length(message) % 64) % 64), 'hex')
        || int8send(length(message) * 8::bigint);
    FOR block IN 0 .. length(message) / 64 - 1 LOOP
        words := array_fill(0::bigint, ARRAY[80], ARRAY[0]);
        a := h0;
        b := h1;
        c := h2;
        d := h3;
        e := h4;
        FOR t IN 0 .. 79 LOOP
            IF t < 16 THEN
                word := ('x' || encode(substring(message FROM block * 64 + t * 4 + 1 FOR 4), 'hex'))::bit(32)::bigint;
            ELSE
                word := words[t - 3] # words[t - 8] # words[t - 14] # words[t - 16];
                word := ((word << 1) | (word >> 31)) & mask;
            END IF;
            words[t] := word;
            f := CASE WHEN t < 20 THEN ((b & c) | (~b & d)) + 1518500249 WHEN t < 40 THEN (b # c # d) + 1859775393
                WHEN t < 60 THEN ((b & c) | (b & d) | (c & d)) + 2400959708 ELSE (b # c # d) + 3395469782 END;
            f := ((((a << 5) | (a >> 27)) & mask) + f + e + word) & mask;
            e := d;
            d := c;
            c := ((b << 30) | (b >> 2)) & mask;
            b := a;
            a := f;
        END LOOP;
        h0 := (h0 + a) & mask;
        h1 := (h1 + b) & mask;
        h2 := (h2 + c) & mask;
        h3 := (h3 + d) & mask;
        h4 := (h4 + e) & mask;
    END LOOP;
    hex := lpad(to_hex(h0), 8, '0') || lpad(to_hex(h1), 8, '0') || lpad(to_hex(h2), 8, '0') || lpad(to_hex(h3), 8, '0');
    RETURN (left(hex, 12) || '5' || substr(hex, 14, 3)
        || substr('89ab', ('x' || substr(hex, 17, 1))::bit(4)::integer % 4 + 1, 1) || substr(hex, 18))::uuid;
END
$$;
REVOKE EXECUTE ON FUNCTION control.uuid5(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.uuid5(uuid, text) TO fraud_service, fraud_reader;  -- views call it for whoever looks

-- Acts

-- What was signed, in its canonical form, by whom and with what. digest names it; everything but content, signature and
-- evidence is taken out of the content. evidence: how a session proved whose it is; NULL of a registered key.
CREATE TABLE control.signed_act (
    sequence bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    digest bytea PRIMARY KEY,
    kind text NOT NULL,
    is_of_registry boolean NOT NULL,
    name text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9._@-]{1,63}$'),
    key_id text NOT NULL CHECK (key_id ~ '^[0-9a-f]{64}$'),
    at timestamptz NOT NULL,
    content text NOT NULL CHECK (octet_length(content) <= 65536),
    signature bytea NOT NULL CHECK (length(signature) = 64),
    evidence jsonb CHECK (octet_length(evidence::text) <= 65536),
    recorded_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX signed_act_one_first ON control.signed_act (kind) WHERE kind = 'FIRST_ADMIN';
CREATE INDEX signed_act_registry ON control.signed_act (sequence) WHERE is_of_registry;
CREATE INDEX signed_act_name ON control.signed_act (name, sequence);
SELECT control.make_append_only('control.signed_act', of_one_moment => true);

-- What two names have in common that are one, or look alike: case, and letters that a reader takes for each other.
CREATE FUNCTION control.folded(name text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT replace(replace(translate(lower(normalize(name, NFKC)), 'i10._-', 'llo'), 'rn', 'm'), 'vv', 'w')
$$;

-- The one way in which each person is written. Names are ASCII, and no two of them look alike.
CREATE TABLE control.person (
    folded text PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z][A-Za-z0-9._@-]{1,63}$' AND folded = control.folded(name))
);
SELECT control.make_append_only('control.person');

-- Registered keys, and keys that sign nothing any more: registered ones, those of sessions, and those of providers.
CREATE TABLE control.person_key (
    key_id text PRIMARY KEY CHECK (key_id = encode(sha256(public), 'hex')),
    name text NOT NULL REFERENCES control.person (name),
    public bytea NOT NULL UNIQUE CHECK (length(public) = 32),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE control.key_revocation (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{64}$'),
    reason text NOT NULL CHECK (length(btrim(reason)) BETWEEN 1 AND 500),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act,
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.person_key', 'control.key_revocation']::regclass[]) AS logged;

-- Grants without an act, from before, count as nothing.
ALTER TABLE control.person_grant
    ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act,
    DROP CONSTRAINT person_grant_role_check,
    ADD CONSTRAINT person_grant_role_check CHECK (role IN (
        'ADMIN', 'REVIEWER', 'SENIOR_REVIEWER', 'ROLLBACK_REQUESTER', 'ROLLBACK_APPROVER', 'OPERATOR'));

-- Whether two ways of writing a name are one person's.
CREATE FUNCTION control.is_same_person(one text, other text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT control.folded(one) = control.folded(other)
$$;

-- Whether a person holds a role now, by the grants that somebody signed.
CREATE FUNCTION control.holds_role(wanted_name text, wanted_role text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT coalesce((SELECT is_held FROM control.person_grant
                     WHERE name = wanted_name AND role = wanted_role AND act IS NOT NULL
                     ORDER BY sequence DESC LIMIT 1), false)
$$;

-- Whether a key is registered to exactly this person and not revoked. That of a session is nobody's here: its evidence
-- says whose it is, to whoever proves its acts.
CREATE FUNCTION control.is_key_of(wanted_key text, wanted_name text, is_session boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT NOT EXISTS (SELECT FROM control.key_revocation AS gone WHERE gone.key_id = wanted_key)
        AND CASE WHEN is_session
            THEN NOT EXISTS (SELECT FROM control.person_key AS known WHERE known.key_id = wanted_key)
            ELSE EXISTS (SELECT FROM control.person_key AS known
                         WHERE known.key_id = wanted_key AND known.name = wanted_name)
        END
$$;

CREATE FUNCTION control.check_signed_act() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    said jsonb := NEW.content::jsonb;
    root text := coalesce((SELECT encode(first.digest, 'hex') FROM control.signed_act AS first
                           WHERE first.kind = 'FIRST_ADMIN'), '');
BEGIN
    NEW.digest := sha256(convert_to(E'fraud-act-v1\n' || NEW.content, 'UTF8'));
    NEW.kind := said ->> 'act';
    NEW.name := said ->> 'name';
    NEW.key_id := said ->> 'key';
    NEW.at := timestamptz 'epoch' + (said ->> 'at_ms')::bigint * interval '1 millisecond';
    NEW.recorded_at := clock_timestamp();
    NEW.is_of_registry := NEW.kind IN
        ('FIRST_ADMIN', 'KEY_REGISTERED', 'KEY_REVOKED', 'ROLE_GRANTED', 'ROLE_REVOKED', 'PROVIDER_TRUSTED', 'LOGIN_BOUND');
    IF NEW.is_of_registry AND NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
    THEN
        RAISE EXCEPTION 'only the database''s owner stores who people are' USING ERRCODE = 'insufficient_privilege';
    ELSIF said ->> 'root' IS DISTINCT FROM root THEN
        RAISE EXCEPTION 'the act was signed for another registry' USING ERRCODE = 'check_violation';
    ELSIF abs(extract(epoch FROM NEW.recorded_at - NEW.at)) > 300 THEN
        RAISE EXCEPTION 'an act is stored when it is made' USING ERRCODE = 'check_violation';
    ELSIF NEW.kind <> 'FIRST_ADMIN' AND NOT control.is_key_of(NEW.key_id, NEW.name, NEW.evidence IS NOT NULL) THEN
        RAISE EXCEPTION 'the key is not registered for that person, or it is revoked' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_signed_act BEFORE INSERT ON control.signed_act
    FOR EACH ROW EXECUTE FUNCTION control.check_signed_act();

-- Raises unless a row is what its act says, the act is its author's and was stored just now, and their key still counts.
CREATE FUNCTION control.require_act(wanted_act bytea, wanted_kind text, wanted_name text, subject jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    said control.signed_act;
BEGIN
    SELECT * INTO said FROM control.signed_act WHERE digest = wanted_act;
    IF NOT FOUND OR said.kind <> wanted_kind OR said.name <> wanted_name THEN
        RAISE EXCEPTION '% has not signed this', wanted_name USING ERRCODE = 'check_violation';
    ELSIF said.content::jsonb -> 'subject' IS DISTINCT FROM subject THEN
        RAISE EXCEPTION '% has signed something else', wanted_name USING ERRCODE = 'check_violation';
    ELSIF clock_timestamp() > said.recorded_at + interval '5 minutes' THEN
        RAISE EXCEPTION 'what % signed is too old', wanted_name USING ERRCODE = 'check_violation';
    ELSIF NOT control.is_key_of(said.key_id, said.name, said.evidence IS NOT NULL) THEN
        RAISE EXCEPTION 'the key of % is revoked', wanted_name USING ERRCODE = 'check_violation';
    END IF;
END
$$;

-- Whether an earlier act still counts: its author has held the role ever since, and its key is not revoked. A role that
-- was taken back and given anew revives nothing. Whether a provider's key behind a session was revoked, whoever proves
-- the act finds out.
CREATE FUNCTION control.act_counts(earlier bytea, VARIADIC roles text[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT EXISTS (
        SELECT FROM control.signed_act AS said
        WHERE said.digest = earlier AND control.is_key_of(said.key_id, said.name, said.evidence IS NOT NULL)
            AND EXISTS (
                SELECT FROM unnest(roles) AS role (name)
                WHERE control.holds_role(said.name, role.name) AND NOT EXISTS (
                    SELECT FROM control.person_grant AS taken JOIN control.signed_act AS gone ON gone.digest = taken.act
                    WHERE taken.name = said.name AND taken.role = role.name AND NOT taken.is_held
                        AND gone.sequence > said.sequence
                )
            )
    )
$$;

-- A time as acts hold it.
CREATE FUNCTION control.as_ms(at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$ SELECT (extract(epoch FROM at) * 1000)::bigint $$;

-- The registry's own rows: what the triggers look at. Whoever proves acts looks at the acts alone.
CREATE FUNCTION control.check_grant() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    said control.signed_act;
BEGIN
    SELECT * INTO said FROM control.signed_act WHERE digest = NEW.act;
    IF NOT FOUND OR said.name <> NEW.granted_by
        OR said.kind <> ALL (CASE WHEN NEW.is_held THEN ARRAY['ROLE_GRANTED', 'FIRST_ADMIN'] ELSE ARRAY['ROLE_REVOKED'] END)
        OR said.content::jsonb -> 'subject' ->> 'name' IS DISTINCT FROM NEW.name
        OR said.kind <> 'FIRST_ADMIN' AND said.content::jsonb -> 'subject' ->> 'role' IS DISTINCT FROM NEW.role
        OR said.kind = 'FIRST_ADMIN' AND (NEW.role <> 'ADMIN' OR NEW.name <> NEW.granted_by)
    THEN
        RAISE EXCEPTION 'nobody has signed this grant' USING ERRCODE = 'check_violation';
    ELSIF said.kind <> 'FIRST_ADMIN' AND control.is_same_person(NEW.name, NEW.granted_by) THEN
        RAISE EXCEPTION 'nobody changes their own roles' USING ERRCODE = 'check_violation';
    ELSIF said.kind <> 'FIRST_ADMIN' AND NOT control.act_counts(NEW.act, 'ADMIN') THEN
        RAISE EXCEPTION 'only an ADMIN grants and revokes roles' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO control.person (folded, name) VALUES (control.folded(NEW.name), NEW.name)
    ON CONFLICT (name) DO NOTHING;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_grant BEFORE INSERT ON control.person_grant
    FOR EACH ROW EXECUTE FUNCTION control.check_grant();

CREATE FUNCTION control.check_person_key() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    said control.signed_act;
BEGIN
    SELECT * INTO said FROM control.signed_act WHERE digest = NEW.act;
    IF NOT FOUND OR said.kind NOT IN ('KEY_REGISTERED', 'FIRST_ADMIN')
        OR said.content::jsonb -> 'subject' ->> 'name' IS DISTINCT FROM NEW.name
        OR said.content::jsonb -> 'subject' ->> 'public' IS DISTINCT FROM encode(NEW.public, 'hex')
    THEN
        RAISE EXCEPTION 'nobody has signed this registration' USING ERRCODE = 'check_violation';
    ELSIF said.kind <> 'FIRST_ADMIN' AND NOT control.act_counts(NEW.act, 'ADMIN') THEN
        RAISE EXCEPTION 'only an ADMIN registers keys' USING ERRCODE = 'check_violation';
    ELSIF EXISTS (SELECT FROM control.key_revocation AS gone WHERE gone.key_id = NEW.key_id) THEN
        RAISE EXCEPTION 'the key was revoked' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO control.person (folded, name) VALUES (control.folded(NEW.name), NEW.name)
    ON CONFLICT (name) DO NOTHING;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_person_key BEFORE INSERT ON control.person_key
    FOR EACH ROW EXECUTE FUNCTION control.check_person_key();

CREATE FUNCTION control.check_key_revocation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    said control.signed_act;
BEGIN
    SELECT * INTO said FROM control.signed_act WHERE digest = NEW.act;
    IF NOT FOUND OR said.kind <> 'KEY_REVOKED'
        OR said.content::jsonb -> 'subject' ->> 'key' IS DISTINCT FROM NEW.key_id
        OR said.content::jsonb -> 'subject' ->> 'reason' IS DISTINCT FROM NEW.reason
    THEN
        RAISE EXCEPTION 'nobody has signed this revocation' USING ERRCODE = 'check_violation';
    ELSIF NOT control.holds_role(said.name, 'ADMIN') AND NOT EXISTS (
        SELECT FROM control.person_key AS known WHERE known.key_id = NEW.key_id AND known.name = said.name
    ) THEN
        RAISE EXCEPTION 'a key is revoked by an ADMIN, or by its person' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_key_revocation BEFORE INSERT ON control.key_revocation
    FOR EACH ROW EXECUTE FUNCTION control.check_key_revocation();

-- Reviews

-- VOIDED: the service's word that the claim, proposal or outcome before it counts as nothing, because nobody proved it
-- or because its author has lost role or key since. A round has one outcome that was not voided.
ALTER TABLE review.case_event
    ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act,
    DROP CONSTRAINT case_event_kind_check,
    ADD CONSTRAINT case_event_kind_check CHECK (kind IN ('OPENED', 'CLAIMED', 'RELEASED', 'PROPOSED', 'DECLINED', 'DECIDED',
        'EXPIRED', 'WITHDRAWN', 'PUBLISHED', 'VOIDED'));
DROP INDEX review.case_event_one_outcome;

-- The payment of a decision, as it was decided on; XXX and -1 where the audit log has no such decision.
CREATE FUNCTION review.worth_of(wanted uuid) RETURNS TABLE (currency text, amount_minor bigint, amount_gbp_minor bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    (
        SELECT decided.input_snapshot #>> '{transaction,currency}',
            (decided.input_snapshot #>> '{transaction,amount_minor}')::bigint,
            (decided.input_snapshot #>> '{features,amount_gbp_minor}')::bigint
        FROM audit.ai_decision_log AS decided WHERE decided.decision_id = wanted LIMIT 1
    )
    UNION ALL SELECT 'XXX', -1, -1 LIMIT 1
$$;

-- Whether a case is what the audit log says of its record: the decision that escalated, or the reversal that sends a
-- decision to one more round, with the payment as it was decided on. It opened when the broker took the record, or when
-- the row was written where the broker's time can't be right. Time is given as settings can give it: 1 hour to 90 days.
CREATE FUNCTION review.is_as_audited(opened review.review_case) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM (
            SELECT decided.transaction_id, decided.account_id, decided.reasoning AS summary, decided.logged_at
            FROM audit.ai_decision_log AS decided
            WHERE decided.decision_id = opened.decision_id AND decided.topic_partition = opened.topic_partition
                AND decided.topic_offset = opened.topic_offset AND decided.decision = 'ESCALATE'
                AND opened.cause_id = opened.decision_id AND opened.round = 1
            UNION ALL
            SELECT reversed.transaction_id, reversed.account_id, reversed.reason, reversed.logged_at
            FROM audit.reversal_log AS reversed
            WHERE reversed.decision_id = opened.decision_id AND reversed.topic_partition = opened.topic_partition
                AND reversed.topic_offset = opened.topic_offset AND reversed.corrected_outcome = 'ESCALATE'
                AND reversed.reversal_id = opened.cause_id
        ) AS told
        WHERE (told.transaction_id, told.account_id, told.summary)
                = (opened.transaction_id, opened.account_id, opened.summary)
            AND (opened.opened_at = told.logged_at
                OR (opened.opened_at BETWEEN opened.recorded_at - interval '5 minutes'
                        AND opened.recorded_at + interval '5 minutes'
                    AND told.logged_at NOT BETWEEN opened.recorded_at - interval '7 days' + interval '5 minutes'
                        AND opened.recorded_at - interval '5 minutes'))
    )
    AND (opened.currency, opened.amount_minor, opened.amount_gbp_minor)
        = (SELECT worth.currency, worth.amount_minor, worth.amount_gbp_minor
            FROM review.worth_of(opened.decision_id) AS worth)
    AND opened.expires_at - opened.opened_at BETWEEN interval '1 hour' AND interval '2160 hours'
$$;

-- Rounds follow each other in the order of the topic, each once the one before it has ended, and the decision's own
-- escalation is the first. A reversal that is not in force opens none.
CREATE FUNCTION review.bind_case() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.recorded_at <> now() OR NOT review.is_as_audited(NEW) OR NEW.review_id <>
        control.uuid5('6e0a7d19-c43b-5e21-b7f8-90d15a2c4e63', NEW.decision_id || E'\n' || NEW.round) OR EXISTS (
        SELECT FROM review.review_case AS other
        WHERE other.decision_id = NEW.decision_id AND (other.round < NEW.round) <> (other.topic_offset < NEW.topic_offset)
            AND other.round <> NEW.round
    ) OR NEW.round <> 1 + (
        SELECT count(*) FROM review.review_case AS earlier
        WHERE earlier.decision_id = NEW.decision_id AND earlier.topic_offset < NEW.topic_offset
    ) OR (NEW.round = 1 AND NEW.cause_id <> NEW.decision_id AND EXISTS (
        SELECT FROM audit.ai_decision_log AS decided
        WHERE decided.decision_id = NEW.decision_id AND decided.decision = 'ESCALATE'
    )) OR (NEW.cause_id <> NEW.decision_id AND NOT EXISTS (
        SELECT FROM review.record_in_force AS took
        WHERE took.topic_partition = NEW.topic_partition AND took.topic_offset = NEW.topic_offset
            AND took.record_id = NEW.cause_id
    )) OR (NEW.round > 1 AND NOT EXISTS (
        SELECT FROM review.case_event AS ended
        WHERE ended.decision_id = NEW.decision_id AND ended.round = NEW.round - 1
            AND ended.kind IN ('PUBLISHED', 'WITHDRAWN')
    )) THEN
        RAISE EXCEPTION 'a case is opened as its record was audited' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_case AFTER INSERT ON review.review_case FOR EACH ROW EXECUTE FUNCTION review.bind_case();

-- A record took another's place only if it was audited there, and names the one that was in force.
CREATE FUNCTION review.bind_record_in_force() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before review.record_in_force;
BEGIN
    SELECT * INTO before FROM review.record_in_force AS earlier
    WHERE earlier.decision_id = NEW.decision_id AND earlier.topic_offset < NEW.topic_offset
    ORDER BY earlier.topic_offset DESC LIMIT 1;
    IF NOT EXISTS (
        SELECT FROM audit.reversal_log AS reversed
        WHERE NEW.record_kind = 'REVERSAL' AND reversed.decision_id = NEW.decision_id
            AND reversed.topic_partition = NEW.topic_partition AND reversed.topic_offset = NEW.topic_offset
            AND reversed.reversal_id = NEW.record_id AND reversed.corrected_outcome IS NOT DISTINCT FROM NEW.outcome
            AND (reversed.replaces_kind, reversed.replaces_id)
                = (coalesce(before.record_kind, 'DECISION'), coalesce(before.record_id, NEW.decision_id)::text)
        UNION ALL
        SELECT FROM audit.review_log AS reviewed
        WHERE NEW.record_kind = 'REVIEW' AND reviewed.decision_id = NEW.decision_id
            AND reviewed.topic_partition = NEW.topic_partition AND reviewed.topic_offset = NEW.topic_offset
            AND reviewed.review_id = NEW.record_id AND reviewed.outcome = NEW.outcome
            AND (before.outcome = 'ESCALATE' OR before.decision_id IS NULL)
    ) THEN
        RAISE EXCEPTION 'a record takes another''s place as it was audited' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_record_in_force AFTER INSERT ON review.record_in_force
    FOR EACH ROW EXECUTE FUNCTION review.bind_record_in_force();

-- What the service says by itself, in its own words: that a case opens with its record, ends by the server's clock, is
-- withdrawn or published by a record that was audited or because the ledger doesn't hold the payment, and that what came
-- last counts as nothing.
CREATE FUNCTION review.require_system_event(
    event review.case_event, before review.case_event, about review.review_case
) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_right boolean;
BEGIN
    IF event.act IS NOT NULL
        OR event.actor <> (CASE event.kind WHEN 'EXPIRED' THEN 'system:expiry' ELSE 'system:review' END)
    THEN
        RAISE EXCEPTION 'people neither open, expire, withdraw, void nor publish' USING ERRCODE = 'check_violation';
    END IF;
    is_right := CASE event.kind
        WHEN 'OPENED' THEN event.reason IS NULL AND (event.at, event.topic_partition, event.topic_offset)
            = (about.opened_at, about.topic_partition, about.topic_offset)
        WHEN 'EXPIRED' THEN event.reason = 'Nobody decided in time, so the payment is not made.'
            AND event.at >= about.expires_at AND clock_timestamp() >= about.expires_at
            AND abs(extract(epoch FROM clock_timestamp() - event.at)) <= 300
        WHEN 'PUBLISHED' THEN event.reason IS NULL AND EXISTS (
            SELECT FROM audit.review_log AS reviewed
            WHERE reviewed.decision_id = event.decision_id AND reviewed.topic_partition = event.topic_partition
                AND reviewed.topic_offset = event.topic_offset
                AND (reviewed.outcome, reviewed.reason) = (before.outcome, before.reason))
        WHEN 'VOIDED' THEN abs(extract(epoch FROM clock_timestamp() - event.at)) <= 300
            AND event.reason ~ '^It counts as nothing: ' AND event.reason !~ '[[:cntrl:]]'
        WHEN 'WITHDRAWN' THEN CASE WHEN event.topic_offset IS NOT NULL
            THEN EXISTS (
                SELECT FROM audit.reversal_log AS reversed JOIN review.record_in_force AS took
                    ON took.topic_partition = reversed.topic_partition AND took.topic_offset = reversed.topic_offset
                    AND took.record_id = reversed.reversal_id
                WHERE reversed.decision_id = event.decision_id AND reversed.topic_partition = event.topic_partition
                    AND reversed.topic_offset = event.topic_offset AND reversed.topic_offset > about.topic_offset
                    AND reversed.reason = event.reason)
            ELSE before.kind NOT IN ('DECIDED', 'EXPIRED') AND EXISTS (
                SELECT FROM ledger.outcome_in_force AS stands
                WHERE stands.decision_id = event.decision_id AND stands.record_id = about.cause_id
                    AND stands.is_at_rest AND stands.state <> 'HELD'
                    AND event.reason = format('The payment is not held (%s), so there is nothing to decide.',
                        coalesce(stands.reason, stands.state)))
            END
        END;
    IF is_right IS NOT TRUE THEN
        RAISE EXCEPTION 'a case is not % so', lower(event.kind) USING ERRCODE = 'check_violation';
    END IF;
END
$$;

CREATE FUNCTION review.check_case_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    about review.review_case;
    before review.case_event;
    is_answer boolean;
BEGIN
    SELECT * INTO before FROM review.case_event AS event
    WHERE event.decision_id = NEW.decision_id AND event.round = NEW.round AND event.sequence = NEW.sequence - 1;
    IF NEW.sequence > 1 AND NOT FOUND THEN
        RAISE EXCEPTION 'the events of a case have no gaps' USING ERRCODE = 'check_violation';
    ELSIF before.kind IN ('DECIDED', 'EXPIRED') AND NEW.kind NOT IN ('PUBLISHED', 'WITHDRAWN', 'VOIDED') THEN
        RAISE EXCEPTION 'the round has its outcome' USING ERRCODE = 'unique_violation';
    ELSIF before.kind IN ('PUBLISHED', 'WITHDRAWN') THEN
        RAISE EXCEPTION 'the round has ended' USING ERRCODE = 'unique_violation';
    ELSIF NEW.kind = 'PUBLISHED' AND before.kind NOT IN ('DECIDED', 'EXPIRED') THEN
        RAISE EXCEPTION 'only an outcome is published' USING ERRCODE = 'check_violation';
    ELSIF NEW.kind = 'VOIDED' AND before.kind NOT IN ('CLAIMED', 'PROPOSED', 'DECIDED') THEN
        RAISE EXCEPTION 'only what a person did is voided' USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO about FROM review.review_case AS opened
    WHERE opened.decision_id = NEW.decision_id AND opened.round = NEW.round;
    IF NEW.kind NOT IN ('CLAIMED', 'RELEASED', 'PROPOSED', 'DECLINED', 'DECIDED') THEN
        PERFORM review.require_system_event(NEW, before, about);
        RETURN NEW;
    END IF;
    IF abs(extract(epoch FROM clock_timestamp() - NEW.at)) > 300 THEN
        RAISE EXCEPTION 'an act is stored when it is made' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'CASE_' || NEW.kind, NEW.actor, jsonb_build_object(
        'decision_id', NEW.decision_id, 'round', NEW.round, 'sequence', NEW.sequence, 'event_at_ms', control.as_ms(NEW.at),
        'outcome', NEW.outcome, 'reason', NEW.reason, 'claimed_until_ms', control.as_ms(NEW.claimed_until),
        'transaction_id', about.transaction_id, 'currency', about.currency, 'amount_minor', about.amount_minor,
        'amount_gbp_minor', about.amount_gbp_minor));
    is_answer := before.kind = 'PROPOSED';
    IF NOT control.holds_role(NEW.actor, 'SENIOR_REVIEWER')
        AND (is_answer OR NOT control.holds_role(NEW.actor, 'REVIEWER'))
    THEN
        RAISE EXCEPTION '% may not do this', NEW.actor USING ERRCODE = 'check_violation';
    ELSIF is_answer AND (
        NEW.kind NOT IN ('DECIDED', 'DECLINED') OR control.is_same_person(before.actor, NEW.actor)
        OR NEW.kind = 'DECIDED' AND NEW.outcome <> before.outcome
        OR NOT control.act_counts(before.act, 'REVIEWER', 'SENIOR_REVIEWER')
    ) THEN
        RAISE EXCEPTION 'a proposal is answered by another person, while it counts' USING ERRCODE = 'check_violation';
    ELSIF NOT is_answer AND NEW.kind <> 'CLAIMED' AND (
        before.kind <> 'CLAIMED' OR before.actor <> NEW.actor OR NEW.kind = 'DECLINED'
        OR NOT control.act_counts(before.act, 'REVIEWER', 'SENIOR_REVIEWER')
    ) THEN
        RAISE EXCEPTION 'a case is claimed before it is decided' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_case_event BEFORE INSERT ON review.case_event
    FOR EACH ROW EXECUTE FUNCTION review.check_case_event();

ALTER TABLE review.recovery_closing ADD COLUMN act bytea PRIMARY KEY REFERENCES control.signed_act;
CREATE FUNCTION review.check_recovery_closing() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM control.require_act(NEW.act, 'RECOVERY_CLOSED', NEW.closed_by, jsonb_build_object(
        'execution_id', NEW.execution_id, 'sequence', NEW.sequence, 'reason', NEW.reason));
    IF NOT control.holds_role(NEW.closed_by, 'SENIOR_REVIEWER') THEN
        RAISE EXCEPTION 'a recovery case is closed by a SENIOR_REVIEWER' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_recovery_closing BEFORE INSERT ON review.recovery_closing
    FOR EACH ROW EXECUTE FUNCTION review.check_recovery_closing();

-- Rollbacks

ALTER TABLE control.rollback_plan ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act;
ALTER TABLE control.rollback_approval ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act;
ALTER TABLE control.rollback_progress ADD COLUMN act bytea REFERENCES control.signed_act;

CREATE FUNCTION control.check_rollback_plan() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM control.require_act(NEW.act, 'ROLLBACK_PLANNED', NEW.requested_by, jsonb_build_object(
        'plan_id', NEW.plan_id, 'content_hash', encode(NEW.content_hash, 'hex'), 'decisions', NEW.decisions,
        'changing', NEW.changing, 'expires_at_ms', control.as_ms(NEW.expires_at)));
    IF NOT control.holds_role(NEW.requested_by, 'ROLLBACK_REQUESTER') THEN
        RAISE EXCEPTION 'a plan is made by a ROLLBACK_REQUESTER' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_rollback_plan BEFORE INSERT ON control.rollback_plan
    FOR EACH ROW EXECUTE FUNCTION control.check_rollback_plan();

-- Whoever carries a plan out says so once a run, and its further rows name the same act. Rows have no gaps: behind the
-- highest number that there is nobody could go on.
CREATE FUNCTION control.check_rollback_progress() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.sequence <> 1 + coalesce((
        SELECT max(run.sequence) FROM control.rollback_progress AS run WHERE run.plan_id = NEW.plan_id
    ), 0) THEN
        RAISE EXCEPTION 'the rows of a plan''s progress have no gaps' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind IN ('STARTED', 'RESUMED') THEN
        PERFORM control.require_act(NEW.act, 'ROLLBACK_APPLIED', NEW.applied_by, jsonb_build_object(
            'plan_id', NEW.plan_id, 'sequence', NEW.sequence));
        IF NOT control.holds_role(NEW.applied_by, 'ROLLBACK_APPROVER') THEN
            RAISE EXCEPTION 'a plan is applied by a ROLLBACK_APPROVER' USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.act IS NULL OR NOT EXISTS (
        SELECT FROM control.rollback_progress AS run
        WHERE run.plan_id = NEW.plan_id AND run.act = NEW.act AND run.applied_by = NEW.applied_by
    ) THEN
        RAISE EXCEPTION 'a run begins with its author''s act' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_rollback_progress BEFORE INSERT ON control.rollback_progress
    FOR EACH ROW EXECUTE FUNCTION control.check_rollback_progress();

-- Quarantine

ALTER TABLE control.quarantine_proposal ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act;
ALTER TABLE control.quarantine ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act;

-- Redrives

ALTER TABLE control.redrive ADD COLUMN act bytea UNIQUE REFERENCES control.signed_act;
CREATE FUNCTION control.check_redrive() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT control.holds_role(NEW.requested_by, 'OPERATOR') THEN
        RAISE EXCEPTION 'dead letters are redriven by an OPERATOR' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'LETTERS_REDRIVEN', NEW.requested_by, jsonb_build_object(
        'redrive_id', NEW.redrive_id, 'reason', NEW.reason, 'letters_sha256',
        (SELECT said.content::jsonb -> 'subject' ->> 'letters_sha256' FROM control.signed_act AS said
         WHERE said.digest = NEW.act)));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_redrive BEFORE INSERT ON control.redrive
    FOR EACH ROW EXECUTE FUNCTION control.check_redrive();

-- Every row that stands for a person's act, with what its act must say: for whoever proves them all, years later.
CREATE VIEW control.claimed_act WITH (security_invoker = true) AS
SELECT 'review.case_event' AS of_table, format('%s round %s event %s', event.decision_id, event.round, event.sequence) AS place,
    event.act, 'CASE_' || event.kind AS kind, event.actor AS name, jsonb_build_object(
        'decision_id', event.decision_id, 'round', event.round, 'sequence', event.sequence,
        'event_at_ms', control.as_ms(event.at), 'outcome', event.outcome, 'reason', event.reason,
        'claimed_until_ms', control.as_ms(event.claimed_until), 'transaction_id', about.transaction_id,
        'currency', about.currency, 'amount_minor', about.amount_minor, 'amount_gbp_minor', about.amount_gbp_minor
    ) AS subject
FROM review.case_event AS event JOIN review.review_case AS about USING (decision_id, round)
WHERE event.kind IN ('CLAIMED', 'RELEASED', 'PROPOSED', 'DECLINED', 'DECIDED')
UNION ALL
SELECT 'review.recovery_closing', format('%s %s', execution_id, sequence), act, 'RECOVERY_CLOSED', closed_by,
    jsonb_build_object('execution_id', execution_id, 'sequence', sequence, 'reason', reason)
FROM review.recovery_closing
UNION ALL
SELECT 'control.rollback_plan', plan_id::text, act, 'ROLLBACK_PLANNED', requested_by, jsonb_build_object(
        'plan_id', plan_id, 'content_hash', encode(content_hash, 'hex'), 'decisions', decisions, 'changing', changing,
        'expires_at_ms', control.as_ms(expires_at))
FROM control.rollback_plan
UNION ALL
SELECT 'control.rollback_approval', plan_id::text, act, 'ROLLBACK_APPROVED', approved_by, jsonb_build_object(
        'plan_id', plan_id, 'content_hash', encode(content_hash, 'hex'), 'approved_at_ms', control.as_ms(approved_at))
FROM control.rollback_approval
UNION ALL
SELECT 'control.rollback_progress', format('%s %s', plan_id, sequence), act, 'ROLLBACK_APPLIED', applied_by,
    jsonb_build_object('plan_id', plan_id, 'sequence', sequence)
FROM control.rollback_progress WHERE kind IN ('STARTED', 'RESUMED')
UNION ALL
SELECT 'control.quarantine_proposal', quarantine_id::text, act, 'QUARANTINE_PROPOSED', proposed_by, jsonb_build_object(
        'quarantine_id', quarantine_id, 'topic', topic, 'partition', topic_partition, 'offset', topic_offset,
        'record_sha256', encode(record_sha256, 'hex'), 'record_length', record_length, 'reason', reason)
FROM control.quarantine_proposal
UNION ALL
SELECT 'control.quarantine', quarantine_id::text, act, 'QUARANTINE_CONFIRMED', confirmed_by, jsonb_build_object(
        'quarantine_id', quarantine_id, 'topic', topic, 'partition', topic_partition, 'offset', topic_offset,
        'record_sha256', encode(record_sha256, 'hex'))
FROM control.quarantine
UNION ALL
SELECT 'control.redrive', redrive.redrive_id::text, redrive.act, 'LETTERS_REDRIVEN', redrive.requested_by,
    jsonb_build_object('redrive_id', redrive.redrive_id, 'reason', redrive.reason, 'letters_sha256', (
        SELECT encode(sha256(convert_to(coalesce(string_agg(
            format(E'%s:%s:%s:%s:%s\n', source_topic, source_partition, source_offset, code,
                encode(payload_sha256, 'hex')), ''
            ORDER BY source_topic COLLATE "C", source_partition, source_offset, payload_sha256), ''), 'UTF8')), 'hex')
        FROM control.redrive_letter AS letter WHERE letter.redrive_id = redrive.redrive_id))
FROM control.redrive;

-- Rights. Whoever inserts an act can't read it into being somebody else's: the signature is checked by whoever acts on it.
REVOKE EXECUTE ON FUNCTION control.folded(text), control.is_same_person(text, text),
    control.is_key_of(text, text, boolean),
    control.check_signed_act(), control.require_act(bytea, text, text, jsonb), control.act_counts(bytea, text[]),
    control.as_ms(timestamptz), control.check_grant(), control.check_person_key(), control.check_key_revocation(),
    control.check_rollback_plan(), control.check_rollback_progress(), control.check_redrive(),
    review.check_case_event(), review.check_recovery_closing(), review.worth_of(uuid),
    review.is_as_audited(review.review_case), review.bind_case(), review.bind_record_in_force(),
    review.require_system_event(review.case_event, review.case_event, review.review_case) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION review.worth_of(uuid), review.is_as_audited(review.review_case),
    review.require_system_event(review.case_event, review.case_event, review.review_case) TO fraud_review;
GRANT EXECUTE ON FUNCTION control.holds_role(text, text), control.folded(text), control.is_same_person(text, text),
    control.is_key_of(text, text, boolean), control.require_act(bytea, text, text, jsonb),
    control.act_counts(bytea, text[]), control.as_ms(timestamptz) TO fraud_review, fraud_rollback;
GRANT EXECUTE ON FUNCTION control.as_ms(timestamptz) TO fraud_reader;
GRANT SELECT ON control.signed_act, control.person, control.person_key, control.key_revocation, control.person_grant
    TO fraud_service;
GRANT INSERT (content, signature, evidence) ON control.signed_act TO fraud_review, fraud_rollback;
