-- The ledger's guards hold what they held before, for less: what they ask is the same, and they ask it less often.
--
-- Each of a payment's rows is still compared with what it must agree with. What has been proved by a row before it isn't
-- looked up again, what holds for a whole statement is asked once for it, and a key that can't matter is NULL, by which
-- an index finds nothing without looking.

-- A step belongs to its execution, follows the one before it, and is one that the saga can take from there with the aim
-- that it has: the one that was heard since, else that of the step before. What the rail is asked to pay the books have
-- moved before: every step that moves money has its posting, so the executor stores SUBMIT after the postings.
--
-- Only an execution's first step is looked up with its execution. Every other stands behind one that is filed under the
-- same time, in the same statement or stored, and so on back to the first. Within a statement only the first of an
-- execution's steps is looked up; the others follow it.
CREATE OR REPLACE FUNCTION ledger.bind_transitions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    -- The saga's table is hashed once a statement; NOT IN would pass over what is NULL.
    PERFORM FROM (
        SELECT written.execution_id, written.caused_at, written.sequence, written.step, written.from_state,
            written.to_state, written.aim, coalesce(written.reason, '') AS reason,
            lag(written.sequence) OVER following AS sequence_before,
            lag(written.to_state) OVER following AS state_before, lag(written.aim) OVER following AS aim_before,
            lag(written.caused_at) OVER following AS caused_before
        FROM written WINDOW following AS (PARTITION BY written.execution_id ORDER BY written.sequence)
    ) AS taken
    LEFT JOIN ledger.execution AS heard
        ON heard.execution_id = CASE WHEN taken.sequence = 1 THEN taken.execution_id END
    LEFT JOIN ledger.transition AS earlier
        ON earlier.caused_at = taken.caused_at AND earlier.sequence = taken.sequence - 1
        AND earlier.execution_id =
            CASE WHEN taken.sequence_before IS NULL AND taken.sequence > 1 THEN taken.execution_id END
    LEFT JOIN ledger.cause AS said
        ON said.execution_id = taken.execution_id AND said.after_sequence = taken.sequence - 1
        AND said.aim IS NOT NULL AND NOT EXISTS (
            SELECT FROM ledger.cause AS later
            WHERE later.execution_id = said.execution_id AND later.after_sequence = said.after_sequence
                AND later.aim IS NOT NULL AND later.topic_offset > said.topic_offset
        )
    WHERE taken.caused_at IS DISTINCT FROM coalesce(taken.caused_before, earlier.caused_at, heard.caused_at)
        OR taken.sequence_before <> taken.sequence - 1
        OR taken.from_state IS DISTINCT FROM
            CASE WHEN taken.sequence = 1 THEN 'NEW' ELSE coalesce(taken.state_before, earlier.to_state) END
        OR ((taken.from_state, coalesce(said.aim, taken.aim_before, earlier.aim, heard.aim), taken.step, taken.reason,
             taken.to_state, taken.aim)
            IN (SELECT allowed.from_state, allowed.aim, allowed.step, allowed.reason, allowed.to_state, allowed.becomes
                FROM ledger.saga_step AS allowed)) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('transition', 'follows_the_saga');
    END IF;
    IF EXISTS (SELECT FROM written WHERE written.cause = 'RESTORE') AND NOT ledger.is_being_restored() THEN
        PERFORM ledger.refuse_row('transition', 'is_restored_in_a_restore');
    END IF;
    PERFORM FROM written
    WHERE written.step = 'SUBMIT' AND CASE WHEN (
            SELECT count(*) FROM ledger.transition AS step
            WHERE step.caused_at = written.caused_at AND step.execution_id = written.execution_id
                AND step.step IN ('RESERVE', 'DEBIT', 'CREDIT', 'RECALL', 'GIVE_BACK', 'RECALL_PART', 'PART_RECALLED',
                                  'REST_RECALLED', 'GIVE_BACK_PART', 'UNDEBIT', 'UNRESERVE')
        ) <> (
            SELECT count(*) FROM ledger.posting AS moved
            WHERE moved.caused_at = written.caused_at AND moved.execution_id = written.execution_id
        ) THEN (
            SELECT heard.amount_minor FROM ledger.execution AS heard WHERE heard.execution_id = written.execution_id
        ) > 0 END
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('transition', 'is_posted');
    END IF;
    RETURN NULL;
END
$$;

-- No account is taken below its limit, nor a recall below zero, without what is set aside of it for people
-- (0093_rail_statement.sql), which is looked for only where anything ever was. Whoever takes has locked the account, so
-- that two who take at once see each other.
CREATE OR REPLACE FUNCTION ledger.require_funds(account_ids text[], currencies text[], are_spent boolean[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM ledger.lock_accounts(account_ids, currencies);
    PERFORM FROM unnest(account_ids, currencies, are_spent) AS taken (account_id, currency, is_spent)
    LEFT JOIN ledger.account AS opened USING (account_id, currency)
    LEFT JOIN LATERAL (
        SELECT was.through_number, was.balance_minor FROM ledger.balance_checkpoint AS was
        WHERE was.account_id = taken.account_id AND was.currency = taken.currency
        ORDER BY was.through_number DESC LIMIT 1
    ) AS checkpoint ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(entry.amount_minor), 0) AS amount_minor FROM (
            SELECT moved.amount_minor FROM ledger.posting AS moved
            WHERE moved.destination_account_id = taken.account_id AND moved.currency = taken.currency
                AND moved.number > coalesce(checkpoint.through_number, 0)
            UNION ALL
            SELECT -moved.amount_minor FROM ledger.posting AS moved
            WHERE moved.source_account_id = taken.account_id AND moved.currency = taken.currency
                AND moved.number > coalesce(checkpoint.through_number, 0)
        ) AS entry
    ) AS since
    WHERE (taken.is_spent AND opened.account_id IS NULL)
        OR coalesce(checkpoint.balance_minor, 0) + since.amount_minor - coalesce(
            CASE WHEN (
                SELECT EXISTS (SELECT FROM ledger.recovery_case AS given WHERE given.claimed_account_id IS NOT NULL)
            ) THEN (
                SELECT sum(claim.amount_minor) FROM ledger.claim
                WHERE claim.account_id = taken.account_id AND claim.currency = taken.currency
            ) END, 0)
            < CASE WHEN taken.is_spent THEN -opened.overdraft_limit_minor ELSE 0 END
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('posting', 'is_covered');
    END IF;
END
$$;

-- A posting moves what its step moves, from whom and to whom that moves it, once for each time that the step was taken:
-- an attempt is one of those if as many steps of its name are stored. What no step moves is money from outside, as its
-- row of ledger.funding says. What the rail has paid or taken back already, and a ledger that was put back takes over
-- (RESTORE), has moved whether the funds for it are there or not; that is so of this very attempt, and while a restore is
-- under way (0093_rail_statement.sql), so it is asked of the attempts only then. The plans of these functions are made
-- while tables are small, and kept: they must look rows up all the same.
CREATE OR REPLACE FUNCTION ledger.bind_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    account_ids text[];
    currencies text[];
    are_spent boolean[];
    is_being_restored boolean;
BEGIN
    PERFORM FROM written
    LEFT JOIN ledger.saga_movement AS moves ON moves.step = written.step
    LEFT JOIN ledger.execution AS heard ON heard.execution_id = written.execution_id
    LEFT JOIN ledger.funding AS funded
        ON funded.execution_id = CASE WHEN moves.step IS NULL THEN written.execution_id END
    WHERE CASE WHEN moves.step IS NULL THEN
            (written.posting_id, written.step, written.attempt, written.source_account_id,
             written.destination_account_id, written.currency, written.amount_minor, written.caused_at, written.reverses)
            IS DISTINCT FROM (funded.execution_id, 'FUND', 1, '/funding', funded.account_id, funded.currency,
                              funded.amount_minor, funded.caused_at, NULL::uuid)
        ELSE
            get_byte(uuid_send(written.posting_id), 6) >> 4 <> 5
            OR (written.source_account_id, written.destination_account_id, written.currency, written.caused_at)
            IS DISTINCT FROM (ledger.account_of(moves.source, heard.account_id, heard.beneficiary_account_id),
                              ledger.account_of(moves.destination, heard.account_id, heard.beneficiary_account_id),
                              heard.currency, heard.caused_at)
            OR (NOT moves.is_part AND written.amount_minor <> heard.amount_minor)
            OR NOT EXISTS (
                SELECT FROM ledger.transition AS taken
                WHERE taken.caused_at = written.caused_at AND taken.execution_id = written.execution_id
                    AND taken.step = written.step
                OFFSET written.attempt - 1
            )
            OR (moves.reverses IS NULL) <> (written.reverses IS NULL)
            OR (moves.reverses IS NOT NULL AND NOT EXISTS (
                SELECT FROM ledger.posting AS undone
                WHERE undone.caused_at = written.caused_at AND undone.execution_id = written.execution_id
                    AND undone.step = moves.reverses AND undone.posting_id = written.reverses
            ))
        END
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('posting', 'is_of_its_step');
    END IF;
    PERFORM ledger.require_parts(recalled.execution_id, recalled.caused_at, heard.amount_minor)
    FROM (
        SELECT DISTINCT written.execution_id, written.caused_at FROM written
        WHERE written.step IN ('RECALL', 'RECALL_PART', 'PART_RECALLED', 'REST_RECALLED', 'GIVE_BACK_PART')
    ) AS recalled
    JOIN ledger.execution AS heard USING (execution_id);
    -- Where no restore ever began, the function needn't be planned anew for each statement.
    is_being_restored := EXISTS (SELECT FROM ledger.restore_begun) AND ledger.is_being_restored();
    SELECT array_agg(taking.account_id), array_agg(taking.currency), array_agg(taking.is_spent)
    INTO account_ids, currencies, are_spent
    FROM (
        SELECT written.source_account_id AS account_id, written.currency, bool_or(written.step = 'RESERVE') AS is_spent
        FROM written
        WHERE written.step IN ('RESERVE', 'RECALL', 'RECALL_PART') AND CASE WHEN is_being_restored THEN (
            SELECT taken.cause FROM ledger.transition AS taken
            WHERE taken.caused_at = written.caused_at AND taken.execution_id = written.execution_id
                AND taken.step = written.step
            ORDER BY taken.sequence LIMIT 1 OFFSET written.attempt - 1
        ) END IS DISTINCT FROM 'RESTORE'
        GROUP BY 1, 2
    ) AS taking;
    IF account_ids IS NOT NULL THEN
        PERFORM ledger.require_funds(account_ids, currencies, are_spent);
    END IF;
    RETURN NULL;
END
$$;
