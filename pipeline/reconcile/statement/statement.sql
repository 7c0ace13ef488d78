-- What two people have disowned counts for nothing, wherever %(disowned)s says which statements that is.

-- name: last_statement
-- The statement of an account in a currency that ends last, and when it was taken in. Banks may number each year's anew.
SELECT account_id, currency, sequence, name, format, from_at, to_at, opening_minor, closing_minor, entries, taken_at
FROM control.rail_statement
WHERE account_id = %(account_id)s AND currency = %(currency)s AND statement_number <> ALL(%(disowned)s::bigint[])
ORDER BY to_at DESC, statement_number DESC LIMIT 1;

-- name: last_statements
-- Of each account and currency the statement that ends last.
SELECT DISTINCT ON (account_id, currency) account_id, currency, sequence, to_at
FROM control.rail_statement WHERE statement_number <> ALL(%(disowned)s::bigint[])
ORDER BY account_id, currency, to_at DESC, statement_number DESC;

-- name: server_time
-- The server's clock, which says what is in the future.
SELECT now();

-- name: first_paid
-- When the rail's first payment in a currency was recorded.
SELECT recorded_at FROM ledger.posting
WHERE source_account_id = '/clearing' AND currency = %s AND step = 'CREDIT' ORDER BY number LIMIT 1;

-- name: around_gap
-- What the account had where a statement ended, and where another began; NULL where none did.
SELECT (
    SELECT closing_minor FROM control.rail_statement
    WHERE account_id = %(account_id)s AND currency = %(currency)s AND to_at = %(ended_at)s
        AND statement_number <> ALL(%(disowned)s::bigint[])
    ORDER BY statement_number DESC LIMIT 1
), (
    SELECT opening_minor FROM control.rail_statement
    WHERE account_id = %(account_id)s AND currency = %(currency)s AND from_at = %(goes_on_at)s
        AND statement_number <> ALL(%(disowned)s::bigint[])
    ORDER BY statement_number DESC LIMIT 1
);

-- name: without_statement
-- Currencies in which the rail made payments that no statement of the account is of, though they were made before a time,
-- and where the last statement in the currency ended; NULL where none was ever taken in. It goes from one currency of the
-- index to the next. In one that is seldom paid in, the last thousand payments say it; the time between is looked through
-- only in one that is paid in so often that it soon finds a payment.
WITH RECURSIVE paid AS (
    (SELECT currency FROM ledger.posting WHERE source_account_id = '/clearing' AND step = 'CREDIT' ORDER BY currency LIMIT 1)
    UNION ALL
    SELECT (
        SELECT later.currency FROM ledger.posting AS later
        WHERE later.source_account_id = '/clearing' AND later.currency > paid.currency AND later.step = 'CREDIT'
        ORDER BY later.currency LIMIT 1
    ) FROM paid WHERE paid.currency IS NOT NULL
)
SELECT paid.currency, stated.until FROM paid
CROSS JOIN LATERAL (
    SELECT max(taken.to_at) AS until FROM control.rail_statement AS taken
    WHERE taken.account_id = %(account_id)s AND taken.currency = paid.currency
        AND taken.statement_number <> ALL(%(disowned)s::bigint[])
) AS stated
CROSS JOIN LATERAL (
    SELECT count(*) AS payments, min(moved.recorded_at) AS since, coalesce(bool_or(
        moved.recorded_at >= stated.until AND moved.recorded_at < %(missed_before)s), false) AS are_missed
    FROM (
        SELECT one.recorded_at FROM ledger.posting AS one
        WHERE one.source_account_id = '/clearing' AND one.currency = paid.currency AND one.step = 'CREDIT'
        ORDER BY one.number DESC LIMIT 1000
    ) AS moved
) AS latest
WHERE paid.currency IS NOT NULL AND CASE WHEN stated.until IS NULL THEN (
        SELECT first.recorded_at FROM ledger.posting AS first
        WHERE first.source_account_id = '/clearing' AND first.currency = paid.currency AND first.step = 'CREDIT'
        ORDER BY first.number LIMIT 1
    ) < %(missed_before)s
    ELSE stated.until < %(missed_before)s AND (latest.are_missed OR (
        latest.payments = 1000 AND latest.since >= %(missed_before)s AND EXISTS (
            SELECT FROM ledger.transition AS made JOIN ledger.execution AS heard USING (execution_id)
            WHERE made.recorded_at >= stated.until AND made.recorded_at < %(missed_before)s AND made.step = 'CREDIT'
                AND heard.currency = paid.currency
        )
    )) END;

-- name: insert_statement
-- A statement, before its entries. It takes the place of a disowned one that has its sequence or its name.
INSERT INTO control.rail_statement
    (account_id, currency, sequence, name, format, from_at, to_at, opening_minor, closing_minor, entries, file_sha256,
     replaces)
SELECT %(account_id)s, %(currency)s, %(sequence)s, %(name)s, %(form)s, %(from_at)s, %(to_at)s, %(opening_minor)s,
    %(closing_minor)s, %(entries)s, %(file_sha256)s, coalesce(max(before.statement_number), 0)
FROM control.rail_statement AS before
WHERE before.statement_number = ANY(%(disowned)s::bigint[]) AND before.account_id = %(account_id)s
    AND before.currency = %(currency)s AND before.from_at = %(from_at)s
    AND (before.sequence = %(sequence)s OR before.name = %(name)s)
RETURNING statement_number;

-- name: copy_entries
-- Its entries.
COPY control.rail_entry (statement_number, number, kind, key, amount_minor, debtor_account_id, creditor_account_id)
FROM STDIN;

-- name: long_statements
-- A day's comparison takes longer than a service's turn.
SET LOCAL statement_timeout = '30min';

-- name: booked_before
-- Keys of this statement that stand on an earlier one.
SELECT DISTINCT mine.key, mine.amount_minor FROM control.rail_entry AS mine
JOIN control.rail_entry AS other ON other.key = mine.key AND other.statement_number < mine.statement_number
    AND other.statement_number <> ALL(%(disowned)s::bigint[])
WHERE mine.statement_number = %(statement_number)s;

-- name: keys_on_statements
-- Which of these keys any statement has.
SELECT DISTINCT key FROM control.rail_entry
WHERE key = ANY(%(keys)s::text[]) AND statement_number <> ALL(%(disowned)s::bigint[]);

-- name: executions_between
-- Executions of which a step was recorded within a time, with all of their steps, and the parts that were recalled.
SELECT heard.execution_id::text, heard.account_id, heard.beneficiary_account_id, heard.amount_minor,
    taken.steps, taken.recorded_at_s, coalesce(parts.amounts_minor, '{}')
FROM (
    SELECT DISTINCT execution_id, caused_at FROM ledger.transition
    WHERE recorded_at >= %(since)s AND recorded_at < %(until)s
) AS asked
JOIN ledger.execution AS heard ON heard.execution_id = asked.execution_id AND heard.currency = %(currency)s
CROSS JOIN LATERAL (
    SELECT array_agg(step.step ORDER BY step.sequence) AS steps,
        array_agg(extract(epoch FROM step.recorded_at)::float8 ORDER BY step.sequence) AS recorded_at_s
    FROM ledger.transition AS step
    WHERE step.caused_at = asked.caused_at AND step.execution_id = asked.execution_id
) AS taken
LEFT JOIN LATERAL (
    SELECT array_agg(moved.amount_minor ORDER BY moved.attempt) AS amounts_minor FROM ledger.posting AS moved
    WHERE moved.caused_at = asked.caused_at AND moved.execution_id = asked.execution_id AND moved.step = 'RECALL_PART'
) AS parts ON true;

-- name: open_findings
-- What differs still, of an account in a currency.
SELECT finding_id::text, kind, key, execution_id::text, rail_minor, ledger_minor, detail, statement_number
FROM control.rail_finding AS opened
WHERE event = 'OPENED' AND account_id = %(account_id)s AND currency = %(currency)s
    AND statement_number <> ALL(%(disowned)s::bigint[]) AND NOT EXISTS (
        SELECT FROM control.rail_finding AS closed
        WHERE closed.finding_id = opened.finding_id AND closed.event = 'CLOSED'
            AND closed.statement_number <> ALL(%(disowned)s::bigint[])
            AND closed.statement_number >= opened.statement_number
    )
ORDER BY at, finding_id;

-- name: all_open_findings
-- What differs still, of every account, oldest first; of lines that name no key, whether people have accounted for them
-- in these places (statement, number).
SELECT opened.kind, opened.account_id, opened.currency, opened.key, opened.execution_id::text, opened.rail_minor,
    opened.ledger_minor, opened.detail, opened.at, opened.statement_number
FROM control.rail_finding AS opened
LEFT JOIN unnest(%(statements)s::bigint[], %(numbers)s::bigint[]) AS ruled (statement_number, number)
    ON opened.kind = 'UNEXPLAINED' AND ruled.statement_number = opened.statement_number
    AND opened.key = (
        SELECT stated.name FROM control.rail_statement AS stated
        WHERE stated.statement_number = opened.statement_number
    ) || ':' || ruled.number
WHERE event = 'OPENED' AND (ruled.number IS NOT NULL) = %(are_explained)s
    AND opened.statement_number <> ALL(%(disowned)s::bigint[]) AND NOT EXISTS (
        SELECT FROM control.rail_finding AS closed
        WHERE closed.finding_id = opened.finding_id AND closed.event = 'CLOSED'
            AND closed.statement_number <> ALL(%(disowned)s::bigint[])
            AND closed.statement_number >= opened.statement_number
    )
ORDER BY opened.at, opened.finding_id LIMIT %(limit)s;

-- name: insert_finding
-- A difference that was found, or is no more; told again, it is the same row.
INSERT INTO control.rail_finding
    (finding_id, event, kind, account_id, currency, key, execution_id, rail_minor, ledger_minor, detail,
     statement_number)
VALUES (%(finding_id)s, %(event)s, %(kind)s, %(account_id)s, %(currency)s, %(key)s, %(execution_id)s, %(rail_minor)s,
    %(ledger_minor)s, %(detail)s, %(statement_number)s)
ON CONFLICT DO NOTHING;

-- name: entries_of
-- Entries under these keys, the first of each.
SELECT DISTINCT ON (key) number, kind, key, amount_minor, debtor_account_id, creditor_account_id FROM control.rail_entry
WHERE key = ANY(%(keys)s::text[]) AND statement_number <> ALL(%(disowned)s::bigint[])
ORDER BY key, statement_number, number;
