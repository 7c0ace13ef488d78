-- People's rulings: two people say what the rail did where it can't say so any more, account for a line of its statement
-- that nothing explains, and say whether a statement that was taken in is the rail's.

-- What may be ruled on

-- Payments in doubt that the rail can't end any more: it has forgotten the key of what it was asked last, and no step
-- has been taken since. The columns are what people are shown and sign.
CREATE VIEW ledger.forgotten_doubt AS
SELECT heard.execution_id, last.sequence, asked.step, asked.attempt,
    control.uuid5('94c8e2b7-51fa-5d06-a3c9-7f1b6e0d8a25',
        heard.execution_id || E'\n' || asked.step || E'\n' || asked.attempt) AS key,
    heard.currency,
    CASE asked.step WHEN 'RECALL_PART' THEN part.amount_minor ELSE heard.amount_minor END AS amount_minor,
    heard.account_id AS debtor_account_id, heard.beneficiary_account_id AS creditor_account_id
FROM ledger.recovery_case AS given
JOIN ledger.execution AS heard USING (execution_id)
CROSS JOIN LATERAL (
    SELECT step.sequence, step.to_state FROM ledger.transition AS step
    WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
    ORDER BY step.sequence DESC LIMIT 1
) AS last
CROSS JOIN LATERAL (
    SELECT step.step, count(*) AS attempt FROM ledger.transition AS step
    WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
        AND step.step = CASE last.to_state WHEN 'IN_DOUBT' THEN 'SUBMIT' WHEN 'RECALL_IN_DOUBT' THEN 'RECALL'
            ELSE 'RECALL_PART' END
    GROUP BY step.step
) AS asked
LEFT JOIN ledger.posting AS part ON part.caused_at = heard.caused_at AND part.execution_id = heard.execution_id
    AND part.step = asked.step AND part.attempt = asked.attempt
WHERE given.reason = 'RAIL_KEY_FORGOTTEN' AND given.sequence = last.sequence
    AND last.to_state IN ('IN_DOUBT', 'RECALL_IN_DOUBT', 'PART_RECALL_IN_DOUBT');

-- Lines of the rail's statements that name no key of ours, as they stand now. The columns are what people sign: where
-- any of it is otherwise than it was signed, the line is explained by nobody again.
CREATE VIEW control.unexplained_line AS
SELECT stated.statement_number, entry.number, stated.account_id, stated.currency, stated.sequence,
    stated.name AS statement, encode(stated.file_sha256, 'hex') AS file_sha256, entry.kind, entry.amount_minor, entry.debtor_account_id,
    entry.creditor_account_id
FROM control.rail_finding AS opened
JOIN control.rail_statement AS stated USING (statement_number)
JOIN control.rail_entry AS entry
    ON entry.statement_number = opened.statement_number AND stated.name || ':' || entry.number = opened.key
WHERE opened.event = 'OPENED' AND opened.kind = 'UNEXPLAINED' AND entry.key IS NULL
    AND (opened.account_id, opened.currency, opened.rail_minor)
        = (stated.account_id, stated.currency, entry.amount_minor);

-- Statements that were taken in, with a digest of their lines as they stand now: LinesDigest in
-- pipeline/reconcile/statement/entries.py makes the same of a person's own copy. The columns are what people sign.
CREATE VIEW control.stated AS
SELECT stated.statement_number, stated.account_id, stated.currency, stated.sequence, stated.name AS statement,
    (extract(epoch FROM stated.from_at) * 1000000)::bigint AS from_us,
    (extract(epoch FROM stated.to_at) * 1000000)::bigint AS to_us,
    stated.opening_minor, stated.closing_minor, written.lines, written.lines_sha256
FROM control.rail_statement AS stated
CROSS JOIN LATERAL (
    SELECT count(*) AS lines, encode(sha256(coalesce(string_agg(sha256(convert_to(concat_ws('|', entry.number, entry.kind,
            entry.amount_minor, coalesce(length(entry.key) || ':' || entry.key, '-'),
            coalesce(length(entry.debtor_account_id) || ':' || entry.debtor_account_id, '-'),
            coalesce(length(entry.creditor_account_id) || ':' || entry.creditor_account_id, '-')), 'UTF8')),
        '' ORDER BY entry.number), '')), 'hex') AS lines_sha256
    FROM control.rail_entry AS entry WHERE entry.statement_number = stated.statement_number
) AS written;

-- Rulings

-- What somebody proposes to rule, about what, and on which evidence. subject is the row of one of the views above.
-- The database takes the columns that it is found by out of it, and says when, and until when.
CREATE TABLE control.ruling_proposal (
    ruling_id uuid PRIMARY KEY,
    about text NOT NULL CHECK (about IN ('DOUBT', 'LINE', 'STATEMENT')),
    subject jsonb NOT NULL CHECK (octet_length(subject::text) <= 8192),
    execution_id uuid CHECK ((execution_id IS NOT NULL) = (about = 'DOUBT')),
    sequence integer CHECK ((sequence IS NOT NULL) = (about = 'DOUBT')),
    statement_number bigint CHECK ((statement_number IS NOT NULL) = (about <> 'DOUBT')),
    line_number bigint CHECK ((line_number IS NOT NULL) = (about = 'LINE')),
    verdict text NOT NULL CHECK (CASE about WHEN 'DOUBT' THEN verdict IN ('MADE', 'NOT_MADE')
        WHEN 'LINE' THEN verdict = 'ACCOUNTED_FOR' ELSE verdict IN ('GENUINE', 'DISOWNED') END),
    evidence text NOT NULL CHECK (length(btrim(evidence, E' \t\n\r\f\v')) BETWEEN 4 AND 500),
    reason text NOT NULL CHECK (length(btrim(reason, E' \t\n\r\f\v')) BETWEEN 10 AND 2000),
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act
);
CREATE INDEX ruling_proposal_doubt ON control.ruling_proposal (execution_id, sequence);
CREATE INDEX ruling_proposal_line ON control.ruling_proposal (statement_number, line_number);
CREATE INDEX ruling_proposal_disowned ON control.ruling_proposal (ruling_id) WHERE verdict = 'DISOWNED';

-- What another person confirmed. Of several about one thing the last that is proved counts, so that nobody who holds the
-- role's credential alone can keep people from ruling by rows that nobody signed.
CREATE TABLE control.ruling (
    ruling_id uuid PRIMARY KEY REFERENCES control.ruling_proposal,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    confirmed_by text NOT NULL,
    confirmed_at timestamptz NOT NULL DEFAULT now(),
    act bytea NOT NULL UNIQUE REFERENCES control.signed_act
);
SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.ruling_proposal', 'control.ruling']::regclass[]) AS logged;
GRANT INSERT ON control.ruling_proposal, control.ruling TO fraud_rollback;
SELECT control.follow('control.ruling_proposal');
SELECT control.follow('control.ruling');

-- What both people sign.
CREATE FUNCTION control.ruling_act(proposal control.ruling_proposal) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('ruling_id', proposal.ruling_id, 'about', proposal.about, 'verdict', proposal.verdict,
        'evidence', proposal.evidence, 'reason', proposal.reason) || proposal.subject
$$;

-- The statements that two people are said to have disowned: the one that they named, and those of its account and currency
-- that were taken in after it until they said so, since each rests on those before it. So nobody who makes up a thousand
-- has people sign as often. Whoever takes one for disowned proves both signatures of the ruling first.
CREATE VIEW control.disowned AS
SELECT taken.statement_number, ruling.ruling_id
FROM control.ruling_proposal AS proposal
JOIN control.ruling USING (ruling_id)
JOIN control.rail_statement AS named ON named.statement_number = proposal.statement_number
JOIN control.rail_statement AS taken ON (taken.account_id, taken.currency) = (named.account_id, named.currency)
    AND taken.statement_number >= named.statement_number AND taken.taken_at <= ruling.confirmed_at
WHERE proposal.verdict = 'DISOWNED';
CREATE FUNCTION control.is_disowned(asked bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM control.disowned AS known WHERE known.statement_number = asked)
$$;

-- A statement takes the place of one of the same account and currency that was disowned, and of no other. When it was
-- taken in, the server's clock says: until when people vouch for it is counted from then.
CREATE FUNCTION control.bind_rail_statement() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.taken_at := now();
    PERFORM FROM control.rail_statement AS stated
    WHERE stated.statement_number = NEW.replaces AND control.is_disowned(stated.statement_number)
        AND (stated.account_id, stated.currency) = (NEW.account_id, NEW.currency);
    IF NEW.replaces <> 0 AND NOT FOUND THEN
        RAISE EXCEPTION 'a statement takes the place of a disowned one alone' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bind_rail_statement BEFORE INSERT ON control.rail_statement
    FOR EACH ROW EXECUTE FUNCTION control.bind_rail_statement();

-- Raises unless what is ruled on stands exactly as it was shown, and no statement of the rail says otherwise. A line that
-- names another payer or payee is somebody else's, who took the key: ours was not made by it.
CREATE FUNCTION control.require_rulable(proposal control.ruling_proposal) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
BEGIN
    IF proposal.about = 'LINE' THEN
        PERFORM FROM control.unexplained_line AS line
        WHERE line.statement_number = proposal.statement_number AND line.number = proposal.line_number
            AND to_jsonb(line) = proposal.subject;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such line of a statement is unexplained' USING ERRCODE = 'check_violation';
        END IF;
        RETURN;
    ELSIF proposal.about = 'STATEMENT' THEN
        PERFORM FROM control.stated AS stated
        WHERE stated.statement_number = proposal.statement_number AND to_jsonb(stated) = proposal.subject;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such statement was taken in' USING ERRCODE = 'check_violation';
        END IF;
        RETURN;
    END IF;
    PERFORM FROM ledger.forgotten_doubt AS doubt
    WHERE doubt.execution_id = proposal.execution_id AND to_jsonb(doubt) = proposal.subject;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the payment is in no doubt that the rail can''t end any more, or not in this one'
            USING ERRCODE = 'check_violation';
    ELSIF proposal.verdict = 'NOT_MADE'
        AND EXISTS (
            SELECT FROM control.rail_entry AS entry WHERE entry.key = proposal.subject ->> 'key'
                AND NOT control.is_disowned(entry.statement_number)
                AND coalesce(entry.debtor_account_id, proposal.subject ->> 'debtor_account_id')
                    = proposal.subject ->> 'debtor_account_id'
                AND coalesce(entry.creditor_account_id, proposal.subject ->> 'creditor_account_id')
                    = proposal.subject ->> 'creditor_account_id'
        )
    THEN
        RAISE EXCEPTION 'a statement of the rail says that it was made' USING ERRCODE = 'check_violation';
    END IF;
END
$$;

CREATE FUNCTION control.check_ruling_proposal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT control.holds_role(NEW.proposed_by, 'ROLLBACK_REQUESTER') THEN
        RAISE EXCEPTION 'a ruling is proposed by a ROLLBACK_REQUESTER' USING ERRCODE = 'check_violation';
    END IF;
    NEW.execution_id := (NEW.subject ->> 'execution_id')::uuid;
    NEW.sequence := CASE NEW.about WHEN 'DOUBT' THEN (NEW.subject ->> 'sequence')::integer END;
    NEW.statement_number := (NEW.subject ->> 'statement_number')::bigint;
    NEW.line_number := (NEW.subject ->> 'number')::bigint;
    NEW.proposed_at := now();
    NEW.expires_at := now() + interval '24 hours';
    PERFORM control.require_rulable(NEW);
    PERFORM control.require_act(NEW.act, 'RULING_PROPOSED', NEW.proposed_by, control.ruling_act(NEW));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_ruling_proposal BEFORE INSERT ON control.ruling_proposal
    FOR EACH ROW EXECUTE FUNCTION control.check_ruling_proposal();

CREATE FUNCTION control.check_ruling() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    proposal control.ruling_proposal;
BEGIN
    SELECT * INTO proposal FROM control.ruling_proposal AS made WHERE made.ruling_id = NEW.ruling_id;
    NEW.confirmed_at := now();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody has proposed this ruling' USING ERRCODE = 'check_violation';
    ELSIF proposal.expires_at <= now() THEN
        RAISE EXCEPTION 'the proposal has expired' USING ERRCODE = 'check_violation';
    ELSIF control.is_same_person(proposal.proposed_by, NEW.confirmed_by) THEN
        RAISE EXCEPTION 'a ruling is confirmed by another person than the one who proposed it'
            USING ERRCODE = 'check_violation';
    ELSIF NOT control.holds_role(NEW.confirmed_by, 'ROLLBACK_APPROVER') THEN
        RAISE EXCEPTION 'a ruling is confirmed by a ROLLBACK_APPROVER' USING ERRCODE = 'check_violation';
    ELSIF NOT control.act_counts(proposal.act, 'ROLLBACK_REQUESTER') THEN
        RAISE EXCEPTION 'whoever proposed it is no ROLLBACK_REQUESTER any more, or their key was revoked'
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_rulable(proposal);
    PERFORM control.require_act(NEW.act, 'RULING_CONFIRMED', NEW.confirmed_by, control.ruling_act(proposal));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_ruling BEFORE INSERT ON control.ruling
    FOR EACH ROW EXECUTE FUNCTION control.check_ruling();

-- Every ruling that two people are said to have made. is_contradicted: a statement of the rail has what they say was not
-- made, and nobody is said to have disowned it. stated_on: every statement that has it. Whoever acts on one proves both
-- signatures first, and those of whoever disowned what it is stated on.
CREATE VIEW control.confirmed_ruling AS
SELECT ruling.number, ruling.ruling_id, proposal.about, proposal.subject, proposal.execution_id, proposal.sequence,
    proposal.statement_number, proposal.line_number, proposal.verdict, proposal.evidence, proposal.reason,
    proposal.proposed_by, proposal.act AS proposed_act, ruling.confirmed_by, ruling.act AS confirmed_act,
    ruling.confirmed_at,
    proposal.verdict = 'NOT_MADE' AND EXISTS (
        SELECT FROM control.rail_entry AS entry WHERE entry.key = proposal.subject ->> 'key'
            AND NOT control.is_disowned(entry.statement_number)
            AND coalesce(entry.debtor_account_id, proposal.subject ->> 'debtor_account_id')
                = proposal.subject ->> 'debtor_account_id'
            AND coalesce(entry.creditor_account_id, proposal.subject ->> 'creditor_account_id')
                = proposal.subject ->> 'creditor_account_id'
    ) AS is_contradicted,
    CASE proposal.verdict WHEN 'NOT_MADE' THEN ARRAY(
        SELECT DISTINCT entry.statement_number FROM control.rail_entry AS entry
        WHERE entry.key = proposal.subject ->> 'key'
            AND coalesce(entry.debtor_account_id, proposal.subject ->> 'debtor_account_id')
                = proposal.subject ->> 'debtor_account_id'
            AND coalesce(entry.creditor_account_id, proposal.subject ->> 'creditor_account_id')
                = proposal.subject ->> 'creditor_account_id'
    ) ELSE '{}' END AS stated_on
FROM control.ruling JOIN control.ruling_proposal AS proposal USING (ruling_id);
GRANT SELECT ON control.confirmed_ruling TO fraud_service;
GRANT SELECT ON control.rail_statement, control.stated, control.disowned TO fraud_executor;

-- The same for whoever proves every act, years later (see control.claimed_act).
CREATE VIEW control.claimed_ruling WITH (security_invoker = true) AS
SELECT 'control.ruling_proposal' AS of_table, proposal.ruling_id::text AS place, proposal.act,
    'RULING_PROPOSED' AS kind, proposal.proposed_by AS name, control.ruling_act(proposal) AS subject
FROM control.ruling_proposal AS proposal
UNION ALL
SELECT 'control.ruling', ruling.ruling_id::text, ruling.act, 'RULING_CONFIRMED', ruling.confirmed_by,
    control.ruling_act(proposal)
FROM control.ruling JOIN control.ruling_proposal AS proposal USING (ruling_id);

REVOKE EXECUTE ON FUNCTION control.ruling_act(control.ruling_proposal),
    control.require_rulable(control.ruling_proposal), control.check_ruling_proposal(), control.check_ruling(),
    control.is_disowned(bigint), control.bind_rail_statement() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.is_disowned(bigint) TO fraud_service, fraud_reader, fraud_rollback;
GRANT EXECUTE ON FUNCTION control.ruling_act(control.ruling_proposal), control.require_rulable(control.ruling_proposal)
    TO fraud_rollback;
GRANT EXECUTE ON FUNCTION control.ruling_act(control.ruling_proposal) TO fraud_reader;

-- Steps by a ruling

-- The step that a ruling is, instead of an answer of the rail, names the act of whoever confirmed it.
ALTER TABLE ledger.transition
    ADD COLUMN ruling bytea,
    DROP CONSTRAINT transition_cause_check,
    ADD CONSTRAINT transition_cause_check
        CHECK (cause IN ('DECISION', 'REVIEW', 'REVERSAL', 'RAIL', 'RESTORE', 'RULING')),
    ADD CONSTRAINT ruling_is_named CHECK ((cause = 'RULING') = (ruling IS NOT NULL)),
    ADD CONSTRAINT ruling_alone_turns CHECK (cause = 'RULING' OR reason IS NULL OR reason NOT LIKE 'RULED%');
GRANT INSERT (ruling) ON ledger.transition TO fraud_executor;
CREATE INDEX transition_ruling ON ledger.transition (execution_id, sequence) WHERE cause = 'RULING';

-- Money that people say is here goes to the payer, never to the rail again: where the payment was to be made, or held, it
-- ends as released, which nothing leaves.
INSERT INTO ledger.saga_step VALUES
    ('IN_DOUBT', 'HOLD', 'REJECT', 'RULED_NOT_MADE', 'DEBITED', 'RELEASE'),
    ('IN_DOUBT', 'SETTLE', 'REJECT', 'RULED_NOT_MADE', 'DEBITED', 'RELEASE'),
    ('PART_RECALL_IN_DOUBT', 'HOLD', 'REST_RECALLED', 'RULED_REST_RECALLED', 'UNRESERVED', 'RELEASE'),
    ('PART_RECALL_IN_DOUBT', 'SETTLE', 'REST_RECALLED', 'RULED_REST_RECALLED', 'UNRESERVED', 'RELEASE'),
    ('RECALL_IN_DOUBT', 'HOLD', 'RECALLED', 'RULED_RECALLED', 'DEBITED', 'RELEASE'),
    ('RECALL_IN_DOUBT', 'SETTLE', 'RECALLED', 'RULED_RECALLED', 'DEBITED', 'RELEASE');

-- A step by a ruling is the one that two people have ruled, about this doubt, and it leaves nothing for the rail to pay.
CREATE FUNCTION ledger.bind_ruling() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ruled control.confirmed_ruling;
BEGIN
    SELECT * INTO ruled FROM control.confirmed_ruling AS made WHERE made.confirmed_act = NEW.ruling;
    IF NOT FOUND OR (ruled.execution_id, ruled.sequence) IS DISTINCT FROM (NEW.execution_id, NEW.sequence - 1)
        OR (CASE ruled.verdict
            WHEN 'MADE' THEN NEW.step IN ('CREDIT', 'RECALLED', 'PART_RECALLED', 'REST_RECALLED')
            WHEN 'NOT_MADE' THEN NEW.step IN ('REJECT', 'GIVE_BACK', 'GIVE_BACK_PART') AND NOT ruled.is_contradicted
            END) IS NOT TRUE
    THEN
        PERFORM ledger.refuse_row('transition', 'is_as_ruled');
    ELSIF control.is_same_person(ruled.proposed_by, ruled.confirmed_by)
        OR NOT control.act_counts(ruled.proposed_act, 'ROLLBACK_REQUESTER')
        OR NOT control.act_counts(ruled.confirmed_act, 'ROLLBACK_APPROVER')
    THEN
        PERFORM ledger.refuse_row('transition', 'is_ruled_by_two');
    ELSIF NEW.reason = 'RAIL_REFUSED'
        OR (NEW.step IN ('REJECT', 'RECALLED', 'REST_RECALLED') AND NEW.aim IN ('SETTLE', 'HOLD'))
    THEN
        PERFORM ledger.refuse_row('transition', 'has_nobody_paid');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_ruling AFTER INSERT ON ledger.transition
    FOR EACH ROW WHEN (NEW.cause = 'RULING') EXECUTE FUNCTION ledger.bind_ruling();

-- Steps that claim a ruling which is none, for reconciliation and `fraud ledger check`.
CREATE VIEW ledger.ruling_fault AS
SELECT taken.execution_id, taken.sequence, heard.topic_partition, heard.topic_offset
FROM ledger.transition AS taken
JOIN ledger.execution AS heard USING (execution_id)
LEFT JOIN control.confirmed_ruling AS ruled ON ruled.confirmed_act = taken.ruling
WHERE taken.cause = 'RULING' AND (
        (ruled.execution_id, ruled.sequence) = (taken.execution_id, taken.sequence - 1)
        AND CASE ruled.verdict WHEN 'MADE' THEN taken.step IN ('CREDIT', 'RECALLED', 'PART_RECALLED', 'REST_RECALLED')
            ELSE taken.step IN ('REJECT', 'GIVE_BACK', 'GIVE_BACK_PART') END
        AND NOT control.is_same_person(ruled.proposed_by, ruled.confirmed_by)
    ) IS NOT TRUE;
GRANT EXECUTE ON FUNCTION control.folded(text), control.is_same_person(text, text) TO fraud_reader;

-- Recovery cases

ALTER TABLE ledger.recovery_case DROP CONSTRAINT recovery_case_reason_check,
    ADD CONSTRAINT recovery_case_reason_check CHECK (reason IN (
        'BENEFICIARY_FUNDS_GONE', 'RECALL_REFUSED', 'PARTLY_RECALLED', 'PART_RECALL_REFUSED', 'RAIL_KEY_FORGOTTEN',
        'RAIL_PAID_OTHERWISE', 'RULING_CONTRADICTED'));

-- A case about a forgotten key is settled once the doubt is over, by a ruling or by the rail after all. Of those that
-- recalls have opened, a payment's latest stands for it. One about what the rail did against the records, or against a
-- ruling, stands by itself, whatever became of the payment before or after.
CREATE VIEW review.unsettled_recovery AS
SELECT latest.execution_id, latest.sequence, latest.reason, latest.missing_minor, latest.currency, latest.recorded_at,
    heard.decision_id, heard.transaction_id, heard.account_id, heard.beneficiary_account_id, heard.amount_minor
FROM (
    SELECT DISTINCT ON (execution_id, by_itself) * FROM (
        SELECT given.*, CASE WHEN given.reason IN ('RAIL_PAID_OTHERWISE', 'RULING_CONTRADICTED') THEN given.sequence
            ELSE 0 END AS by_itself
        FROM ledger.recovery_case AS given
    ) AS told
    ORDER BY execution_id, by_itself, sequence DESC
) AS latest
JOIN ledger.execution AS heard USING (execution_id)
JOIN ledger.outcome_in_force AS stands USING (execution_id)
WHERE CASE latest.reason
    WHEN 'RAIL_PAID_OTHERWISE' THEN true
    WHEN 'RULING_CONTRADICTED' THEN true
    WHEN 'RAIL_KEY_FORGOTTEN' THEN stands.state IN ('IN_DOUBT', 'RECALL_IN_DOUBT', 'PART_RECALL_IN_DOUBT')
    ELSE stands.is_at_rest AND stands.state = 'SETTLED'
        AND (stands.is_partly_recalled OR stands.cause NOT LIKE '%\_ALLOW') END;
-- Recovery cases that are open: those of each payment that is still out against the outcome in force, and that nobody is
-- said to have closed. A later recall that succeeded, or a reversal to ALLOW, settles it by itself.
CREATE VIEW review.open_recovery AS
SELECT unsettled.* FROM review.unsettled_recovery AS unsettled
WHERE NOT EXISTS (
    SELECT FROM review.recovery_closing AS closed
    WHERE closed.execution_id = unsettled.execution_id AND closed.sequence = unsettled.sequence
);
-- Those among them, too, that somebody is said to have closed: whoever shows them proves that first.
CREATE VIEW review.standing_recovery AS
SELECT unsettled.*, closed.closed_by, closed.reason AS closed_reason, closed.act AS closed_act
FROM review.unsettled_recovery AS unsettled
LEFT JOIN review.recovery_closing AS closed
    ON closed.execution_id = unsettled.execution_id AND closed.sequence = unsettled.sequence;

GRANT SELECT ON review.open_recovery, review.standing_recovery TO fraud_review;

REVOKE EXECUTE ON FUNCTION ledger.bind_ruling() FROM PUBLIC;
