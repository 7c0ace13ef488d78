-- Drills on the live breaker: two people consent to one, and it is begun once (ADR 0040). Nothing here opens a breaker: that
-- is a record on breaker_switches.v1, which carries both signatures to the workers.

-- What somebody proposes to try. The database says when, and refuses what nobody may consent to. begins_*: between which
-- times it may begin. pages: the sinks that its alert goes to, by name, as both people saw them.
CREATE TABLE control.live_drill_proposal (
    drill_id text PRIMARY KEY CHECK (drill_id ~ '^[0-9a-f]{8}$'),
    drill text NOT NULL CHECK (drill IN
        ('model-blocks', 'model-allows', 'one-postcode', 'slow-model', 'failing-model', 'drift')),
    scope text NOT NULL CHECK (length(scope) BETWEEN 1 AND 300),
    open_s integer NOT NULL CHECK (open_s BETWEEN 30 AND 900),
    begins_from timestamptz NOT NULL CHECK (isfinite(begins_from)),
    begins_until timestamptz NOT NULL CHECK (isfinite(begins_until)),
    pages text NOT NULL CHECK (length(pages) BETWEEN 1 AND 500),
    reason text NOT NULL CHECK (length(btrim(reason, E' \t\n\r\f\v')) BETWEEN 10 AND 500),
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act,
    CHECK (begins_until > begins_from AND begins_until <= begins_from + interval '24 hours')
);

-- What another person confirmed.
CREATE TABLE control.live_drill_consent (
    drill_id text PRIMARY KEY REFERENCES control.live_drill_proposal,
    confirmed_by text NOT NULL,
    confirmed_at timestamptz NOT NULL DEFAULT now(),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act
);

-- That one of the two begins it: a consent is used once, whatever became of the drill.
CREATE TABLE control.live_drill_begin (
    drill_id text PRIMARY KEY REFERENCES control.live_drill_consent,
    begun_by text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act
);
SELECT control.make_append_only(logged) FROM unnest(ARRAY['control.live_drill_proposal',
    'control.live_drill_consent', 'control.live_drill_begin']::regclass[]) AS logged;

-- What both people sign, and whoever begins it.
CREATE FUNCTION control.live_drill_act(proposal control.live_drill_proposal) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('drill_id', proposal.drill_id, 'drill', proposal.drill, 'scope', proposal.scope,
        'open_s', proposal.open_s, 'from_ms', control.as_ms(proposal.begins_from),
        'until_ms', control.as_ms(proposal.begins_until), 'pages', proposal.pages, 'reason', proposal.reason)
$$;

CREATE FUNCTION control.check_live_drill_proposal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.proposed_at := now();
    IF NOT control.holds_role(NEW.proposed_by, 'OPERATOR') THEN
        RAISE EXCEPTION 'a live drill is proposed by an OPERATOR' USING ERRCODE = 'check_violation';
    ELSIF NEW.begins_until <= now() OR NEW.begins_until > now() + interval '7 days' THEN
        RAISE EXCEPTION 'a live drill begins within 7 days' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'LIVE_DRILL_PROPOSED', NEW.proposed_by, control.live_drill_act(NEW));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_live_drill_proposal BEFORE INSERT ON control.live_drill_proposal
    FOR EACH ROW EXECUTE FUNCTION control.check_live_drill_proposal();

CREATE FUNCTION control.check_live_drill_consent() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    proposal control.live_drill_proposal;
BEGIN
    SELECT * INTO proposal FROM control.live_drill_proposal AS made WHERE made.drill_id = NEW.drill_id;
    NEW.confirmed_at := now();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody has proposed this drill' USING ERRCODE = 'check_violation';
    ELSIF proposal.begins_until <= now() THEN
        RAISE EXCEPTION 'the time for this drill is over' USING ERRCODE = 'check_violation';
    ELSIF control.is_same_person(proposal.proposed_by, NEW.confirmed_by) THEN
        RAISE EXCEPTION 'a live drill is confirmed by another person than the one who proposed it'
            USING ERRCODE = 'check_violation';
    ELSIF NOT control.holds_role(NEW.confirmed_by, 'OPERATOR') THEN
        RAISE EXCEPTION 'a live drill is confirmed by an OPERATOR' USING ERRCODE = 'check_violation';
    ELSIF NOT control.act_counts(proposal.act, 'OPERATOR') THEN
        RAISE EXCEPTION 'whoever proposed it is no OPERATOR any more, or their key was revoked'
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'LIVE_DRILL_CONFIRMED', NEW.confirmed_by, control.live_drill_act(proposal));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_live_drill_consent BEFORE INSERT ON control.live_drill_consent
    FOR EACH ROW EXECUTE FUNCTION control.check_live_drill_consent();

CREATE FUNCTION control.check_live_drill_begin() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    proposal control.live_drill_proposal;
    consent control.live_drill_consent;
BEGIN
    SELECT * INTO proposal FROM control.live_drill_proposal AS made WHERE made.drill_id = NEW.drill_id;
    SELECT * INTO consent FROM control.live_drill_consent AS given WHERE given.drill_id = NEW.drill_id;
    NEW.begun_at := now();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody has consented to this drill' USING ERRCODE = 'check_violation';
    ELSIF now() < proposal.begins_from OR now() >= proposal.begins_until THEN
        RAISE EXCEPTION 'this is not the time for this drill' USING ERRCODE = 'check_violation';
    ELSIF NEW.begun_by NOT IN (proposal.proposed_by, consent.confirmed_by) THEN
        RAISE EXCEPTION 'a live drill is begun by one of the two who consented' USING ERRCODE = 'check_violation';
    ELSIF NOT control.act_counts(proposal.act, 'OPERATOR') OR NOT control.act_counts(consent.act, 'OPERATOR') THEN
        RAISE EXCEPTION 'one of the two is no OPERATOR any more, or their key was revoked'
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'LIVE_DRILL_BEGUN', NEW.begun_by, control.live_drill_act(proposal));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_live_drill_begin BEFORE INSERT ON control.live_drill_begin
    FOR EACH ROW EXECUTE FUNCTION control.check_live_drill_begin();

-- The rows that stand for acts, for whoever proves them all, with those of live drills.
DO $claimed$
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW control.claimed_act WITH (security_invoker = true) AS
        %s
        UNION ALL
        SELECT 'control.live_drill_proposal', proposal.drill_id, proposal.act, 'LIVE_DRILL_PROPOSED',
            proposal.proposed_by, control.live_drill_act(proposal)
        FROM control.live_drill_proposal AS proposal
        UNION ALL
        SELECT 'control.live_drill_consent', consent.drill_id, consent.act, 'LIVE_DRILL_CONFIRMED',
            consent.confirmed_by, control.live_drill_act(proposal)
        FROM control.live_drill_consent AS consent JOIN control.live_drill_proposal AS proposal USING (drill_id)
        UNION ALL
        SELECT 'control.live_drill_begin', begun.drill_id, begun.act, 'LIVE_DRILL_BEGUN', begun.begun_by,
            control.live_drill_act(proposal)
        FROM control.live_drill_begin AS begun JOIN control.live_drill_proposal AS proposal USING (drill_id)
    $view$, rtrim(pg_get_viewdef('control.claimed_act'::regclass), '; '));
END
$claimed$;

-- Rights. People propose and confirm by the role that answers alerts; whoever carries drills out is the owner.
GRANT INSERT ON control.live_drill_proposal, control.live_drill_consent TO fraud_oncall;
GRANT SELECT ON control.live_drill_proposal, control.live_drill_consent, control.live_drill_begin
    TO fraud_service, fraud_oncall;
GRANT SELECT ON control.drill_record TO fraud_oncall;  -- what became of each
SELECT control.follow(logged) FROM unnest(ARRAY['control.live_drill_proposal', 'control.live_drill_consent',
    'control.live_drill_begin']::regclass[]) AS logged;
REVOKE EXECUTE ON FUNCTION control.live_drill_act(control.live_drill_proposal), control.check_live_drill_proposal(),
    control.check_live_drill_consent(), control.check_live_drill_begin() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.live_drill_act(control.live_drill_proposal) TO fraud_oncall, fraud_reader;
