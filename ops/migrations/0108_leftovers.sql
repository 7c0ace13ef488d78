-- Reversals are counted by the plan that they carry out, to say how much of it stands on the topic.
CREATE INDEX reversal_log_plan ON audit.reversal_log (plan_id);

-- Each role that posts has a space of ids of its own. What comes in from outside is known by UUIDs of version 8, which
-- the treasurer alone writes; what a decision leads to by those of version 5, which follow from it. So nobody takes an id
-- in advance that another's posting needs, or gives a funding the id of a payment.
ALTER TABLE ledger.funding
    ADD CONSTRAINT id_is_of_a_funding CHECK (get_byte(uuid_send(execution_id), 6) >> 4 = 8);
ALTER TABLE ledger.execution
    ADD CONSTRAINT id_is_of_a_decision CHECK (get_byte(uuid_send(execution_id), 6) >> 4 <> 8);
ALTER TABLE ledger.posting ADD CONSTRAINT id_is_of_its_space CHECK (
    (get_byte(uuid_send(posting_id), 6) >> 4 = 8) = (step = 'FUND') AND (step <> 'FUND' OR posting_id = execution_id));

-- The treasurer posts what it funds, and the executor what its steps move. It looks with the writer's own rights, so that
-- it knows who writes; the owner and superusers are bound by the constraints alone.
CREATE FUNCTION ledger.keep_spaces() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_user = 'fraud_treasurer' AND EXISTS (SELECT FROM written WHERE step <> 'FUND')
        OR current_user = 'fraud_executor' AND EXISTS (SELECT FROM written WHERE step = 'FUND')
    THEN
        RAISE EXCEPTION 'this role posts nothing of this kind' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_spaces AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.keep_spaces();
