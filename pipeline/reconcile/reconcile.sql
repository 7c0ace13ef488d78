-- name: outcomes
-- What became of the records of a stretch of the intake: the source's offset, and what it became. A result that stands
-- on its topic twice, byte for byte, is one result.
SELECT source_offset, became FROM (
    SELECT DISTINCT source_offset, 'DECISION' AS became, sha256(record) AS distinct_by
    FROM audit.ai_decision_log
    WHERE source_partition = %(partition)s AND source_offset >= %(first)s AND source_offset < %(end)s
    UNION ALL
    SELECT DISTINCT source_offset, code, payload_sha256
    FROM audit.dead_letter
    WHERE source_topic = %(topic)s AND source_partition = %(partition)s
        AND source_offset >= %(first)s AND source_offset < %(end)s
    UNION ALL
    SELECT DISTINCT source_offset, 'QUARANTINED', sha256(record)
    FROM audit.quarantined
    WHERE NOT statement::jsonb ? 'unproved' AND source_partition = %(partition)s
        AND source_offset >= %(first)s AND source_offset < %(end)s
) AS outcome;

-- name: audited_records
-- The audit log's rows about a stretch of the decisions topic, each with the digest of the record's bytes.
SELECT topic_offset, sha256(record) FROM audit.ai_decision_log
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
UNION ALL
SELECT topic_offset, sha256(record) FROM audit.reversal_log
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
UNION ALL
SELECT topic_offset, sha256(record) FROM audit.review_log
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
UNION ALL
SELECT topic_offset, sha256(record) FROM audit.quarantined
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s;

-- name: audited_letters
-- The audit log's rows about a stretch of the dead-letter topic; their payload is not kept, so there is no digest.
-- A letter that was put aside has none.
SELECT topic_offset, ''::bytea FROM audit.dead_letter
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
UNION
SELECT put.topic_offset, ''::bytea FROM control.quarantine AS put
JOIN control.consumer_position AS audited ON audited.consumer = 'audit-dead-letters' AND audited.topic = put.topic
    AND audited.partition = put.topic_partition AND audited.next_offset > put.topic_offset
WHERE put.topic = %(topic)s AND put.topic_partition = %(partition)s
    AND put.topic_offset >= %(first)s AND put.topic_offset < %(end)s;

-- name: executions
-- What became of the audited decisions of a stretch of the decisions topic. One that the executor could not use and
-- people have put aside is named as that.
SELECT decided.topic_offset, decided.decision, executed.execution_id IS NOT NULL, executed.state,
    EXISTS (SELECT FROM ledger.cause WHERE cause.execution_id IN (decided.execution_id, decided.decision_id))
FROM audit.ai_decision_log AS decided
LEFT JOIN ledger.execution_state AS executed ON executed.execution_id = decided.execution_id
WHERE decided.topic_partition = %(partition)s AND decided.topic_offset >= %(first)s AND decided.topic_offset < %(end)s
    AND (executed.execution_id IS NOT NULL OR NOT EXISTS (
        SELECT FROM control.quarantine AS put WHERE put.topic = %(topic)s
            AND put.topic_partition = decided.topic_partition AND put.topic_offset = decided.topic_offset
    ));

-- name: execution_faults
-- What is wrong with executions of a stretch of the decisions topic.
SELECT topic_offset, fault FROM ledger.execution_fault
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
UNION ALL
SELECT topic_offset, 'RULED_OTHERWISE' FROM ledger.ruling_fault
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s;

-- name: later_records
-- What became of the audited reviews and reversals of a stretch, but for copies of an earlier one. One that was heard
-- and moves nothing is at rest. One that the executor could not use and people have put aside is named as that.
SELECT audited.topic_offset, said.cause_id IS NOT NULL, CASE WHEN said.ignored IS NULL THEN executed.state ELSE 'REFUSED' END
FROM (
    SELECT topic_partition, topic_offset FROM audit.review_log AS reviewed
    WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
        AND NOT EXISTS (
            SELECT FROM audit.review_log AS before
            WHERE before.decision_id = reviewed.decision_id AND before.review_id = reviewed.review_id
                AND before.topic_partition = reviewed.topic_partition AND before.topic_offset < reviewed.topic_offset
        )
    UNION ALL
    SELECT topic_partition, topic_offset FROM audit.reversal_log AS reversed
    WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
        AND NOT EXISTS (
            SELECT FROM audit.reversal_log AS before
            WHERE before.decision_id = reversed.decision_id AND before.reversal_id = reversed.reversal_id
                AND before.topic_partition = reversed.topic_partition AND before.topic_offset < reversed.topic_offset
        )
) AS audited
LEFT JOIN ledger.cause AS said USING (topic_partition, topic_offset)
LEFT JOIN ledger.execution_state AS executed ON executed.execution_id = said.execution_id
WHERE said.cause_id IS NOT NULL OR NOT EXISTS (
    SELECT FROM control.quarantine AS put WHERE put.topic = %(topic)s
        AND put.topic_partition = audited.topic_partition AND put.topic_offset = audited.topic_offset
);

-- name: cause_faults
-- Reviews and reversals of a stretch that the ledger has and the audit log hasn't, or otherwise.
SELECT topic_offset FROM ledger.cause_fault
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s;

-- name: stale_hold
-- Whether a hold at this place is stale.
SELECT FROM ledger.stale_hold WHERE topic_partition = %(partition)s AND topic_offset = %(first)s;

-- name: stale_holds
-- Payments that no case can free any more, the oldest first; of those that are told once, the ones that were not yet.
SELECT topic_partition, topic_offset FROM ledger.stale_hold AS held
WHERE NOT %(is_untold)s OR NOT EXISTS (
    SELECT FROM control.reconciliation_gap AS told
    WHERE told.kind = 'STALE_HOLD' AND told.topic = %(topic)s AND told.partition = held.topic_partition
        AND told.first_offset = held.topic_offset
)
ORDER BY recorded_at LIMIT %(limit)s;

-- name: postings_since
-- The next postings of transactions that the snapshot `now` sees and `before`, if there is one, doesn't.
SELECT chain_xid::text::bigint, number FROM ledger.posting
WHERE (chain_xid, number) > (%(xid)s::text::xid8, %(number)s)
    AND pg_visible_in_snapshot(chain_xid, %(now)s::text::pg_snapshot)
    AND NOT coalesce(pg_visible_in_snapshot(chain_xid, %(before)s::text::pg_snapshot), false)
ORDER BY chain_xid, number LIMIT %(limit)s;

-- name: posting_snapshot
-- What is seen now, its oldest transaction that has not ended, and the one to come.
SELECT now::text, pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint
FROM pg_current_snapshot() AS now;

-- name: posting_faults
-- Those of some transactions' postings that nothing moves so.
SELECT number FROM ledger.posting_fault
WHERE chain_xid >= %(first)s::text::xid8 AND chain_xid <= %(last)s::text::xid8 AND number = ANY (%(numbers)s)
ORDER BY number;

-- name: moved_faults
-- What is wrong with the executions that those postings belong to, wherever these stand.
WITH looked_at AS (
    SELECT DISTINCT execution_id FROM ledger.posting
    WHERE chain_xid >= %(first)s::text::xid8 AND chain_xid <= %(last)s::text::xid8 AND number = ANY (%(numbers)s)
)
SELECT fault, topic_partition, topic_offset FROM ledger.execution_fault JOIN looked_at USING (execution_id)
UNION
SELECT 'RULED_OTHERWISE', topic_partition, topic_offset FROM ledger.ruling_fault JOIN looked_at USING (execution_id)
ORDER BY fault, topic_partition, topic_offset;

-- name: repeated_decisions
-- Decisions of a stretch whose transaction had been decided before, and otherwise (I2).
SELECT repeated.topic_offset FROM audit.ai_decision_log AS repeated
WHERE topic_partition = %(partition)s AND topic_offset >= %(first)s AND topic_offset < %(end)s
    AND EXISTS (
        SELECT FROM audit.ai_decision_log AS before
        WHERE before.decision_id = repeated.decision_id AND before.record <> repeated.record
            AND (before.topic_partition <> repeated.topic_partition OR before.topic_offset < repeated.topic_offset)
    );

-- name: late_decisions
-- Decisions of a stretch about records of the intake that were reconciled before the stretch began.
SELECT decided.topic_offset, decided.source_partition, decided.source_offset
FROM audit.ai_decision_log AS decided
JOIN control.consumer_position AS intake
    ON intake.consumer = %(consumer)s AND intake.topic = %(intake)s AND intake.partition = decided.source_partition
        AND decided.source_offset < intake.next_offset
WHERE decided.topic_partition = %(partition)s AND decided.topic_offset >= %(first)s AND decided.topic_offset < %(end)s;

-- name: late_letters
-- Dead letters of a stretch about records of the intake that were reconciled before the stretch began.
SELECT letter.topic_offset, letter.source_partition, letter.source_offset
FROM audit.dead_letter AS letter
JOIN control.consumer_position AS intake
    ON intake.consumer = %(consumer)s AND intake.topic = %(intake)s AND intake.partition = letter.source_partition
        AND letter.source_offset < intake.next_offset
WHERE letter.source_topic = %(intake)s AND letter.topic_partition = %(partition)s
    AND letter.topic_offset >= %(first)s AND letter.topic_offset < %(end)s;

-- name: earlier_copies
-- Whether a decision stands at an earlier place with the same bytes.
SELECT 1 FROM audit.ai_decision_log
WHERE source_partition = %(source_partition)s AND source_offset = %(source_offset)s
    AND sha256(record) = sha256(%(record)s) AND topic_partition = %(partition)s AND topic_offset < %(offset)s
LIMIT 1;

-- name: open_gaps
-- The oldest gaps of these kinds that were found and have not closed since.
SELECT kind, topic, partition, first_offset, last_offset, records FROM control.reconciliation_gap AS opened
WHERE event = 'OPENED' AND kind = ANY(%(kinds)s) AND NOT EXISTS (
    SELECT FROM control.reconciliation_gap AS closed WHERE closed.gap_id = opened.gap_id AND closed.event = 'CLOSED'
)
ORDER BY at LIMIT %(limit)s;

-- name: months_ahead
-- For how many months after the present one every table has partitions.
SELECT min(months) FROM control.partition_reach();

-- name: unfiled
-- Tables with rows outside every month.
SELECT parent::text, unfiled FROM control.unfiled_rows() WHERE unfiled > 0 ORDER BY 1;

-- name: quarantined
-- Every record that was put aside, on these topics.
SELECT topic, topic_partition, topic_offset FROM control.quarantine WHERE topic = ANY(%(topics)s)
GROUP BY topic, topic_partition, topic_offset
ORDER BY min(confirmed_at), topic, topic_partition, topic_offset;

-- name: quarantined_untold
-- Of those, the ones that were not named yet.
SELECT topic, topic_partition, topic_offset FROM control.quarantine AS put
WHERE topic = ANY(%(topics)s) AND NOT EXISTS (
    SELECT FROM control.reconciliation_gap AS told
    WHERE told.kind = 'QUARANTINED' AND told.topic = put.topic AND told.partition = put.topic_partition
        AND told.first_offset = put.topic_offset
)
GROUP BY topic, topic_partition, topic_offset
ORDER BY min(confirmed_at), topic, topic_partition, topic_offset LIMIT 100;

-- name: insert_reconciliation
-- One stretch that was compared. It was not opened after now, whatever the service's clock says.
INSERT INTO control.reconciliation
    (opened_at, stretch, taken_in, decisions, dead_letters, duplicates, audited, executed, gaps)
VALUES (least(%(opened_at)s, now()), %(stretch)s, %(taken_in)s, %(decisions)s, %(dead_letters)s, %(duplicates)s, %(audited)s,
    %(executed)s, %(gaps)s);

-- name: insert_gap
-- A gap that was found or has closed; told again, it is the same row.
INSERT INTO control.reconciliation_gap
    (gap_id, event, kind, side, topic, partition, first_offset, last_offset, records)
VALUES (%(gap_id)s, %(event)s, %(kind)s, %(side)s, %(topic)s, %(partition)s, %(first_offset)s, %(last_offset)s,
    %(records)s)
ON CONFLICT DO NOTHING;

-- name: decisions_of_labels
-- The first decision on each of these payments, with the last review of it. The currency is that of a payment which the
-- policy had a rate for, so there are few; another's amount is left out.
SELECT DISTINCT ON (wanted.transaction_id, wanted.account_id)
    wanted.transaction_id, wanted.account_id, decided.decision, review.outcome,
    CASE WHEN (decided.input_snapshot -> 'features' ->> 'amount_gbp_minor')::bigint >= 0
        THEN decided.input_snapshot -> 'transaction' ->> 'currency' END,
    (decided.input_snapshot -> 'transaction' ->> 'amount_minor')::bigint
FROM unnest(%s::text[], %s::text[]) AS wanted (transaction_id, account_id)
JOIN audit.ai_decision_log AS decided USING (transaction_id, account_id)
LEFT JOIN LATERAL (
    SELECT outcome FROM audit.review_log
    WHERE review_log.decision_id = decided.decision_id ORDER BY topic_offset DESC LIMIT 1
) AS review ON true
ORDER BY wanted.transaction_id, wanted.account_id, decided.logged_at, decided.topic_partition, decided.topic_offset;
