-- name: released_claims
-- What was set aside of these accounts and somebody is said to have given free. It is looked for only where anything ever
-- was set aside.
SELECT DISTINCT freed.execution_id::text, freed.sequence, freed.account_id, freed.currency, freed.amount_minor
FROM unnest(%s::text[], %s::text[]) AS wanted (account_id, currency)
JOIN ledger.released_claim AS freed USING (account_id, currency)
WHERE (SELECT EXISTS (SELECT FROM ledger.recovery_case AS given WHERE given.claimed_account_id IS NOT NULL));

-- name: claim_closings
-- By whom such money is said to be given free, and by which act, in the order of the acts from one on.
SELECT said.sequence, freed.execution_id::text, freed.sequence, freed.closed_by, freed.reason, encode(freed.act, 'hex')
FROM ledger.released_claim AS freed JOIN control.signed_act AS said ON said.digest = freed.act
WHERE said.sequence > %s ORDER BY said.sequence LIMIT %s;
