-- What money from outside was for, and that one reference stands for one funding (ADR 0039).
--
-- A reference was known by the id that follows from it alone, so the database could not say which one a row stands for,
-- and the same money under another id was other money. Rows from before have none; nothing is changed in them.

-- kind: an account's opening balance, or a funding by its reference. reference: as it is compared, in one spelling for
-- all that read alike (pipeline/execute/references.py); of an opening, the account and its currency.
ALTER TABLE ledger.funding
    ADD COLUMN kind text,
    ADD COLUMN reference text,
    ADD CONSTRAINT reference_is_said CHECK (
        kind IN ('OPENING', 'FUNDING') AND kind IS NOT NULL AND reference IS NOT NULL
        AND length(reference) BETWEEN 1 AND 140
        AND reference !~ '[[:cntrl:]]' AND reference !~ '^[[:space:]]|[[:space:]]$|[[:space:]]{2}'
        AND (kind <> 'OPENING' OR reference = account_id || ' ' || currency)
    ) NOT VALID;
CREATE UNIQUE INDEX reference_is_one ON ledger.funding (kind, reference);
GRANT INSERT (kind, reference) ON ledger.funding TO fraud_treasurer;
