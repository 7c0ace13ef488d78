-- name: statements_but
-- Every statement that was taken in, but these; the columns of TakenIn, in its order.
SELECT statement_number, account_id, currency, sequence, name, from_at, to_at, taken_at
FROM control.rail_statement WHERE statement_number <> ALL(%s::bigint[]) ORDER BY statement_number;

-- name: statement
-- One of them as people sign it; the columns of Statement, in its order.
SELECT statement_number, account_id, currency, sequence, statement, from_us, to_us, opening_minor, closing_minor, lines,
    lines_sha256
FROM control.stated WHERE statement_number = %s;

-- name: statement_like
-- The one that stands for a statement of this account, currency, sequence and beginning.
SELECT statement_number FROM control.rail_statement
WHERE account_id = %(account_id)s AND currency = %(currency)s AND sequence = %(sequence)s
    AND (extract(epoch FROM from_at) * 1000000)::bigint = %(from_us)s
    AND statement_number <> ALL(%(disowned)s::bigint[])
ORDER BY statement_number DESC LIMIT 1;

-- name: waiting_words
-- What was proposed to say of a statement, and nobody has confirmed, the latest first.
SELECT made.ruling_id::text, made.evidence, made.reason, made.proposed_by, encode(made.act, 'hex')
FROM control.ruling_proposal AS made
WHERE made.statement_number = %(statement_number)s AND made.verdict = %(verdict)s AND made.expires_at > now()
    AND NOT EXISTS (SELECT FROM control.ruling AS confirmed WHERE confirmed.ruling_id = made.ruling_id)
ORDER BY made.proposed_at DESC LIMIT 1000;

-- name: disowned_by
-- The statements that these rulings disown.
SELECT DISTINCT statement_number FROM control.disowned WHERE ruling_id = ANY(%s::uuid[]);

-- name: words_on_statements
-- What was ruled about statements that stand as they did then. Where it is asked for, all lines of those that were taken
-- in within a month are hashed again; of others, which nobody but a superuser can change, the head is compared.
SELECT ruled.subject, ruled.ruling_id::text, ruled.verdict, ruled.evidence, ruled.reason, ruled.proposed_by,
    encode(ruled.proposed_act, 'hex'), ruled.confirmed_by, encode(ruled.confirmed_act, 'hex')
FROM control.confirmed_ruling AS ruled
JOIN control.rail_statement AS taken ON taken.statement_number = ruled.statement_number
WHERE ruled.about = 'STATEMENT' AND ruled.verdict = %(verdict)s
    AND ruled.subject - 'lines' - 'lines_sha256' = jsonb_build_object('statement_number', taken.statement_number,
        'account_id', taken.account_id, 'currency', taken.currency, 'sequence', taken.sequence,
        'statement', taken.name, 'from_us', (extract(epoch FROM taken.from_at) * 1000000)::bigint,
        'to_us', (extract(epoch FROM taken.to_at) * 1000000)::bigint, 'opening_minor', taken.opening_minor,
        'closing_minor', taken.closing_minor)
    AND ruled.subject ?& ARRAY['lines', 'lines_sha256']
    AND (NOT %(is_whole)s OR taken.taken_at < now() - interval '31 days' OR ruled.subject = (
        SELECT to_jsonb(whole) FROM control.stated AS whole WHERE whole.statement_number = taken.statement_number));
