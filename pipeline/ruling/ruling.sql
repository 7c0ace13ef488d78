-- name: waiting_doubts
-- Payments in doubt that the rail can't end any more; the columns of Doubt, in its order.
SELECT execution_id::text, sequence, step, attempt, key::text, currency, amount_minor, debtor_account_id,
    creditor_account_id
FROM ledger.forgotten_doubt ORDER BY execution_id LIMIT %s;

-- name: doubt_of
-- The one of a decision's payment, or of a payment by its execution.
SELECT doubt.execution_id::text, doubt.sequence, doubt.step, doubt.attempt, doubt.key::text, doubt.currency,
    doubt.amount_minor, doubt.debtor_account_id, doubt.creditor_account_id
FROM ledger.execution AS heard JOIN ledger.forgotten_doubt AS doubt USING (execution_id)
WHERE heard.decision_id = %(wanted)s OR heard.execution_id = %(wanted)s;

-- name: unexplained_lines
-- Lines of the rail's statements that name no key of ours; the columns of Line, in its order.
SELECT statement_number, number, account_id, currency, sequence, statement, file_sha256, kind, amount_minor,
    debtor_account_id, creditor_account_id
FROM control.unexplained_line ORDER BY statement_number, number;

-- name: stated_on
-- Statements that have what a doubt is about, to whom it is about.
SELECT DISTINCT statement_number FROM control.rail_entry
WHERE key = %(key)s AND coalesce(debtor_account_id, %(debtor_account_id)s) = %(debtor_account_id)s
    AND coalesce(creditor_account_id, %(creditor_account_id)s) = %(creditor_account_id)s;

-- name: append_proposal
-- Somebody proposes a ruling; the database adds where it is found and the times, and checks role and subject.
INSERT INTO control.ruling_proposal (ruling_id, about, subject, verdict, evidence, reason, proposed_by, act)
VALUES (%(ruling_id)s, %(about)s, %(subject)s, %(verdict)s, %(evidence)s, %(reason)s, %(by)s, decode(%(act)s, 'hex'));

-- name: confirm
-- Another person confirms exactly that; the database checks who, what and when.
INSERT INTO control.ruling (ruling_id, confirmed_by, act) VALUES (%(ruling_id)s, %(by)s, decode(%(act)s, 'hex'));

-- name: read_proposals
-- Every proposal with what became of it, the latest first. Whether it has expired, the database's clock says. A step
-- that the executor took by it is named by its sequence.
SELECT made.ruling_id::text, made.about, made.subject, made.verdict, made.evidence, made.reason, made.proposed_by,
    (extract(epoch FROM made.proposed_at) * 1000)::bigint, ruling.confirmed_by,
    (extract(epoch FROM ruling.confirmed_at) * 1000)::bigint, made.expires_at <= now(), taken.sequence
FROM control.ruling_proposal AS made
LEFT JOIN control.ruling USING (ruling_id)
LEFT JOIN ledger.transition AS taken
    ON taken.cause = 'RULING' AND taken.execution_id = made.execution_id AND taken.sequence = made.sequence + 1
    AND taken.ruling = ruling.act
WHERE %(wanted)s::uuid IS NULL OR made.ruling_id = %(wanted)s
ORDER BY made.proposed_at DESC, made.ruling_id LIMIT %(limit)s;

-- name: rulings_of_executions
-- What was ruled about these payments' doubts, the latest first. What a statement contradicts is left out; the statements
-- that have what was ruled not to be made are named, so that whoever disowned them is proved.
SELECT execution_id::text, sequence, stated_on, ruling_id::text, verdict, evidence, reason, proposed_by,
    encode(proposed_act, 'hex'), confirmed_by, encode(confirmed_act, 'hex')
FROM control.confirmed_ruling
WHERE execution_id = ANY(%s::uuid[]) AND NOT is_contradicted
ORDER BY number DESC;

-- name: rulings_of_lines
-- What was ruled about lines that stand as they did then, the latest first.
SELECT line.statement_number, line.number, line.account_id, line.currency, line.sequence, line.statement,
    line.file_sha256, line.kind, line.amount_minor, line.debtor_account_id, line.creditor_account_id,
    ruled.ruling_id::text, ruled.verdict, ruled.evidence, ruled.reason, ruled.proposed_by,
    encode(ruled.proposed_act, 'hex'), ruled.confirmed_by, encode(ruled.confirmed_act, 'hex')
FROM control.confirmed_ruling AS ruled
JOIN control.unexplained_line AS line
    ON line.statement_number = ruled.statement_number AND line.number = ruled.line_number
WHERE ruled.about = 'LINE'
ORDER BY ruled.number DESC;

-- name: rulings_taken
-- Every step that the executor took by a ruling, with what was ruled; the columns of Doubt come first, as they were
-- signed.
SELECT taken.execution_id::text, taken.sequence, ruled.subject, ruled.ruling_id::text, ruled.verdict, ruled.evidence,
    ruled.reason, ruled.proposed_by, encode(ruled.proposed_act, 'hex'), ruled.confirmed_by,
    encode(ruled.confirmed_act, 'hex')
FROM ledger.transition AS taken
JOIN control.confirmed_ruling AS ruled ON ruled.confirmed_act = taken.ruling
WHERE taken.cause = 'RULING' ORDER BY taken.execution_id, taken.sequence;
