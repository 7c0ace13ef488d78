-- name: plan_for_points
-- This connection only ever looks rows up by their keys. A plan made while a table was small would scan it, and is kept
-- until statistics are gathered again; by then the table may have grown a thousand times. Nor is anything here
-- worth compiling.
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; SET jit = off;

-- name: read_executions
-- What the register has of these executions.
SELECT execution_id::text, account_id, beneficiary_account_id, currency, amount_minor, decision_id::text,
    transaction_id, cause, aim, (extract(epoch FROM event_time) * 1000)::bigint,
    (extract(epoch FROM caused_at) * 1000)::bigint, topic_partition, amount_gbp_minor,
    coalesce((extract(epoch FROM payment_logged_at) * 1000)::bigint, -1), topic_offset
FROM ledger.execution WHERE execution_id = ANY(%s::uuid[]);

-- name: read_transitions
-- All steps of these executions, each with its caused_at so that only its month is looked at; in order.
SELECT step.execution_id::text, step.sequence, step.step, step.from_state, step.to_state, step.aim, step.reason
FROM unnest(%s::uuid[], %s::timestamptz[]) AS wanted (execution_id, caused_at)
JOIN ledger.transition AS step USING (caused_at, execution_id)
ORDER BY step.execution_id, step.sequence;

-- name: read_parts
-- What was posted of parts that were recalled, in order.
SELECT moved.execution_id::text, moved.step, moved.amount_minor
FROM unnest(%s::uuid[], %s::timestamptz[]) AS wanted (execution_id, caused_at)
JOIN ledger.posting AS moved USING (caused_at, execution_id)
WHERE moved.step = ANY(%s::text[]) ORDER BY moved.number;

-- name: read_causes
-- All that was heard about these executions after their decisions, in order.
SELECT execution_id::text, cause_id::text, cause, aim, after_sequence, (extract(epoch FROM event_time) * 1000)::bigint,
    ignored
FROM ledger.cause WHERE execution_id = ANY(%s::uuid[]) ORDER BY execution_id, after_sequence, topic_offset;

-- name: executions_of
-- The executions that decisions belong to: as the one that is executed, or as a second one about the same payment.
SELECT decision_id::text, execution_id::text FROM ledger.execution WHERE decision_id = ANY(%(ids)s::uuid[])
UNION ALL
SELECT cause_id::text, execution_id::text FROM ledger.cause
WHERE cause_id = ANY(%(ids)s::uuid[]) AND cause IN ('DECIDED_ALLOW', 'DECIDED_ESCALATE', 'DECIDED_BLOCK');

-- name: unfinished
-- Executions that something was heard about at or after an offset.
SELECT execution_id::text FROM ledger.execution WHERE topic_partition = %(partition)s AND topic_offset >= %(offset)s
UNION
SELECT execution_id::text FROM ledger.cause
WHERE topic_partition = %(partition)s AND topic_offset >= %(offset)s AND aim IS NOT NULL;

-- name: doubtful
-- Executions that were in doubt and aren't at rest, in the order of their first doubts, from a place on: the rail owes an
-- answer on them, or it has given one and a crash came before they were announced. No position leads back to them.
-- A payment whose key the rail has forgotten is people's, and asked about only once two of them have ruled on it.
SELECT step.execution_id::text, min(step.recorded_at) FROM ledger.transition AS step
JOIN ledger.execution AS heard USING (execution_id)
CROSS JOIN LATERAL (
    SELECT later.to_state, later.sequence FROM ledger.transition AS later
    WHERE later.caused_at = step.caused_at AND later.execution_id = step.execution_id
    ORDER BY later.sequence DESC LIMIT 1
) AS last
WHERE step.to_state IN ('IN_DOUBT', 'RECALL_IN_DOUBT', 'PART_RECALL_IN_DOUBT') AND heard.topic_partition = ANY(%(partitions)s::integer[])
    AND last.to_state NOT IN ('SETTLED', 'HELD', 'REFUSED', 'REVERSED', 'RELEASED')
    AND NOT EXISTS (
        SELECT FROM ledger.recovery_case AS given WHERE given.execution_id = step.execution_id
            AND given.sequence = last.sequence AND given.reason = 'RAIL_KEY_FORGOTTEN'
            AND NOT EXISTS (
                SELECT FROM control.confirmed_ruling AS ruled WHERE ruled.execution_id = given.execution_id
                    AND ruled.sequence = given.sequence AND NOT ruled.is_contradicted
            )
    )
GROUP BY step.execution_id
HAVING %(at)s::timestamptz IS NULL OR (min(step.recorded_at), step.execution_id) > (%(at)s::timestamptz, %(name)s::uuid)
ORDER BY min(step.recorded_at), step.execution_id LIMIT %(count)s;

-- name: ruled_keys
-- Keys that people have ruled on in the last 90 days and the executor has taken that for the rail's answer, the latest
-- first, each with the last step of its payment that is no doubt, which may have a case of its own; but for those that
-- the rail was found to contradict.
SELECT taken.execution_id::text, last.sequence, ruled.subject ->> 'key', ruled.verdict = 'MADE',
    (ruled.subject ->> 'amount_minor')::bigint, heard.currency, heard.decision_id::text
FROM ledger.transition AS taken
JOIN ledger.execution AS heard USING (execution_id)
JOIN control.confirmed_ruling AS ruled ON ruled.confirmed_act = taken.ruling
CROSS JOIN LATERAL (
    SELECT later.sequence FROM ledger.transition AS later
    WHERE later.caused_at = taken.caused_at AND later.execution_id = taken.execution_id AND later.step <> 'DOUBT'
    ORDER BY later.sequence DESC LIMIT 1
) AS last
WHERE taken.cause = 'RULING' AND taken.recorded_at > now() - interval '90 days'
    AND heard.topic_partition = ANY(%s::integer[])
    AND NOT EXISTS (
        SELECT FROM ledger.recovery_case AS known WHERE known.execution_id = taken.execution_id
            AND (known.reason = 'RULING_CONTRADICTED' OR known.sequence = last.sequence)
    )
ORDER BY taken.recorded_at DESC LIMIT %s;

-- name: asked_ages
-- How many seconds ago the rail may have met the last key of each of these executions. A step that was taken while the
-- ledger caught up is as old as the record that led to it.
SELECT wanted.execution_id::text, extract(epoch FROM now() - asked.at)
FROM unnest(%s::uuid[], %s::timestamptz[]) AS wanted (execution_id, caused_at)
CROSS JOIN LATERAL (
    SELECT CASE WHEN step.cause = 'RESTORE'
        THEN (
            SELECT coalesce((
                SELECT max(said.caused_at) FROM ledger.cause AS said
                WHERE said.execution_id = wanted.execution_id AND said.aim IS NOT NULL
                    AND said.after_sequence < step.sequence
            ), heard.logged_at)
            FROM ledger.execution AS heard WHERE heard.execution_id = wanted.execution_id
        )
        ELSE step.recorded_at END AS at
    FROM ledger.transition AS step
    WHERE step.caused_at = wanted.caused_at AND step.execution_id = wanted.execution_id
        AND step.step IN ('SUBMIT', 'RECALL', 'RECALL_PART')
    ORDER BY step.sequence DESC LIMIT 1
) AS asked;

-- name: cases_of
-- The recovery cases that these executions have.
SELECT execution_id::text, sequence FROM ledger.recovery_case WHERE execution_id = ANY(%s::uuid[]);

-- name: claims_of
-- What is set aside of accounts for these executions, and nobody is said to have given free.
SELECT execution_id::text, account_id, sum(amount_minor)::bigint FROM ledger.claim
WHERE execution_id = ANY(%s::uuid[]) GROUP BY execution_id, account_id;

-- name: lock_accounts
-- Keeps every other transaction from looking at these accounts' balances to take from them, until this one ends. The
-- database locks them in order, so that two batches never wait for each other.
SELECT ledger.lock_accounts(%s::text[], %s::text[]);

-- name: read_limits
-- What accounts have, without what is set aside for people; how far below zero they may go (NULL: never opened); and
-- how many postings that took to sum.
SELECT wanted.account_id, wanted.currency, has.there_minor, has.overdraft_limit_minor, has.tail
FROM unnest(%s::text[], %s::text[]) AS wanted (account_id, currency)
CROSS JOIN LATERAL ledger.means(wanted.account_id, wanted.currency) AS has;

-- name: take_checkpoint
-- Appends where an account stands, so that its balance takes few postings to sum again.
SELECT ledger.take_checkpoint(%s, %s);

-- name: copy_executions
-- Decisions that were heard for the first time.
COPY ledger.execution (
    execution_id, decision_id, transaction_id, account_id, beneficiary_account_id, currency, amount_minor, cause, aim,
    event_time, caused_at, logged_at, topic_partition, topic_offset, amount_gbp_minor, payment_logged_at
) FROM STDIN;

-- name: copy_causes
-- Reviews and reversals that were heard.
COPY ledger.cause (
    execution_id, cause_id, cause, aim, ignored, after_sequence, transaction_id, account_id, event_time, caused_at,
    topic_partition, topic_offset
) FROM STDIN;

-- name: copy_transitions
-- Steps that were taken.
COPY ledger.transition (execution_id, sequence, step, from_state, to_state, aim, cause, reason, caused_at, ruling)
FROM STDIN;

-- name: copy_recoveries
-- Money that was to be had back, and isn't.
COPY ledger.recovery_case (
    execution_id, sequence, reason, missing_minor, currency, claimed_account_id, claimed_minor
) FROM STDIN;

-- name: copy_postings
-- What the steps move.
COPY ledger.posting (
    posting_id, execution_id, step, attempt, source_account_id, destination_account_id, currency, amount_minor,
    event_time, caused_at, reverses
) FROM STDIN;

-- name: open_account
-- Opens accounts, and returns those that were not open before.
INSERT INTO ledger.account (account_id, currency, overdraft_limit_minor, opened_at)
SELECT account_id, currency, overdraft_limit_minor, timestamptz 'epoch' + opened_at_ms * interval '1 millisecond'
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])
    AS opened (account_id, currency, overdraft_limit_minor, opened_at_ms)
ON CONFLICT DO NOTHING
RETURNING account_id, currency;

-- name: stored_openings
-- What accounts that are open were opened with.
SELECT account.account_id, account.currency, account.overdraft_limit_minor, coalesce(funded.amount_minor, 0)
FROM unnest(%s::text[], %s::text[], %s::uuid[]) AS wanted (account_id, currency, funding_id)
JOIN ledger.account USING (account_id, currency)
LEFT JOIN ledger.funding AS funded ON funded.execution_id = wanted.funding_id;

-- name: fund_account
-- Moves money into open accounts from outside; no row where the same funding was posted before.
WITH clock AS (
    SELECT asked.at, control.filing_time('ledger.posting', asked.at) AS filed_at
    FROM (SELECT timestamptz 'epoch' + %s * interval '1 millisecond') AS asked (at)
), funded AS (
    INSERT INTO ledger.funding (execution_id, account_id, currency, amount_minor, caused_at, kind, reference)
    SELECT wanted.execution_id, wanted.account_id, wanted.currency, wanted.amount_minor, clock.filed_at,
        wanted.kind, wanted.reference
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])
        AS wanted (execution_id, kind, reference, account_id, currency, amount_minor), clock
    ON CONFLICT DO NOTHING
    RETURNING execution_id, account_id, currency, amount_minor, caused_at
)
INSERT INTO ledger.posting (
    posting_id, execution_id, step, attempt, source_account_id, destination_account_id, currency, amount_minor,
    event_time, caused_at
)
SELECT execution_id, execution_id, 'FUND', 1, '/funding', account_id, currency, amount_minor, clock.at, caused_at
FROM funded, clock;

-- name: stored_fundings
-- What references stand for, and since when; by the id that follows from one, or by the reference itself.
SELECT account_id, currency, amount_minor, (extract(epoch FROM recorded_at) * 1000)::bigint FROM ledger.funding
WHERE execution_id = %s::uuid OR (kind = %s AND reference = %s);

-- name: balance
-- What an account had, by the postings of events up to one time that were recorded up to another; in each currency.
SELECT currency, sum(amount_minor), count(*) FROM ledger.entry
WHERE account_id = %s AND event_time <= coalesce(%s::timestamptz, 'infinity')
    AND recorded_at <= coalesce(%s::timestamptz, 'infinity')
GROUP BY currency ORDER BY currency;

-- name: limits_of_account
-- In which currencies an account was opened, and how far below zero it may go.
SELECT currency, overdraft_limit_minor FROM ledger.account WHERE account_id = %s ORDER BY currency;

-- name: sums
-- The sum over all accounts in each currency, which must be zero, and what is in clearing.
SELECT currency, sum(amount_minor), coalesce(sum(amount_minor) FILTER (WHERE account_id = '/clearing'), 0)
FROM ledger.entry GROUP BY currency ORDER BY currency;

-- name: overdrawn
-- Opened accounts that stand below their limit.
SELECT account.account_id, account.currency, sum(entry.amount_minor) AS balance_minor,
    account.overdraft_limit_minor
FROM ledger.account JOIN ledger.entry USING (account_id, currency)
GROUP BY account.account_id, account.currency, account.overdraft_limit_minor
HAVING sum(entry.amount_minor) < -account.overdraft_limit_minor
ORDER BY account.account_id, account.currency LIMIT %s;

-- name: wrong_checkpoints
-- Checkpoints that are not what the postings through their number sum to.
SELECT was.account_id, was.currency, was.through_number FROM ledger.balance_checkpoint AS was
WHERE was.balance_minor <> coalesce((
    SELECT sum(entry.amount_minor) FROM ledger.entry
    WHERE entry.account_id = was.account_id AND entry.currency = was.currency AND entry.number <= was.through_number
), 0)
LIMIT %s;

-- name: execution_faults
-- Executions that are otherwise than was decided, or whose steps or postings contradict their state.
SELECT execution_id::text, fault FROM ledger.execution_fault ORDER BY fault, execution_id LIMIT %s;

-- name: posting_faults
-- Postings that neither a step nor a funding moves.
SELECT number, execution_id::text FROM ledger.posting_fault ORDER BY number LIMIT %s;

-- name: cause_faults
-- Reviews and reversals that the audit log hasn't, or otherwise.
SELECT cause_id::text, execution_id::text FROM ledger.cause_fault ORDER BY cause_id LIMIT %s;

-- name: stale_holds
-- Payments that are held although no case can free them.
SELECT execution_id::text, recorded_at FROM ledger.stale_hold ORDER BY recorded_at LIMIT %s;

-- name: ruling_faults
-- Steps that claim a ruling which is none, or about something else.
SELECT execution_id::text, sequence FROM ledger.ruling_fault ORDER BY execution_id, sequence LIMIT %s;

-- name: untold_recoveries
-- Steps that left money out without a case for a person.
SELECT execution_id::text, sequence FROM ledger.untold_recovery ORDER BY execution_id, sequence LIMIT %s;

-- name: states
-- How many executions stand in each state, and their amounts.
SELECT coalesce(state, 'NEW'), currency, count(*), sum(amount_minor) FROM ledger.execution_state
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: put_aside_by_audit
-- Records of some stretches of the decisions topic that the audit log holds as put aside.
SELECT topic_partition, topic_offset FROM ledger.put_aside_by_audit(%(partitions)s, %(firsts)s, %(ends)s);
