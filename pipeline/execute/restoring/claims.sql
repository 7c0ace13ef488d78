-- name: released_claims
-- What was set aside of these accounts and is said to be given free, by whom, and by which act. It is looked for only
-- where anything ever was set aside.
SELECT freed.execution_id::text, freed.sequence, freed.account_id, freed.currency, freed.amount_minor, freed.closed_by,
    freed.reason, encode(freed.act, 'hex')
FROM unnest(%s::text[], %s::text[]) AS wanted (account_id, currency)
JOIN ledger.released_claim AS freed USING (account_id, currency)
WHERE (SELECT EXISTS (SELECT FROM ledger.recovery_case AS given WHERE given.claimed_account_id IS NOT NULL));
