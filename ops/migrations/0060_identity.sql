-- Identity: a decision's id follows from the whole payment, so it can't be computed from a transaction id any more, and
-- several decisions may carry one.

-- A person who asks about a payment gives its transaction id.
CREATE INDEX ai_decision_log_transaction ON audit.ai_decision_log (transaction_id);

-- Reviews and reversals name a decision, and the executor looks for its execution. There are few second decisions.
CREATE INDEX execution_decision ON ledger.execution (decision_id);
CREATE INDEX cause_second_decision ON ledger.cause (cause_id)
    WHERE cause IN ('DECIDED_ALLOW', 'DECIDED_ESCALATE', 'DECIDED_BLOCK');
