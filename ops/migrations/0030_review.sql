-- People and their roles, and the cases that they review: one case for each round of a decision, and its events.

-- A record about a role: it is held from now on, or no longer. The latest about (name, role) counts. Only the owner
-- writes it, because a service that could appoint an approver could approve by itself.
CREATE TABLE control.person_grant (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9._@-]{1,63}$'),
    role text NOT NULL
        CHECK (role IN ('ADMIN', 'REVIEWER', 'SENIOR_REVIEWER', 'ROLLBACK_REQUESTER', 'ROLLBACK_APPROVER')),
    is_held boolean NOT NULL,
    granted_by text NOT NULL CHECK (length(granted_by) BETWEEN 2 AND 64),
    granted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX person_grant_name ON control.person_grant (name, sequence);
SELECT control.make_append_only('control.person_grant');

-- A case. cause_id: the id of the decision or the reversal that escalated, whose position on the topic the case holds.
-- A case that a reversal opened has the plan's amounts and summary. amount_gbp_minor is -1 where the worth is unknown.
CREATE TABLE review.review_case (
    decision_id uuid NOT NULL,
    round integer NOT NULL CHECK (round >= 1),
    review_id uuid NOT NULL UNIQUE,
    cause_id uuid NOT NULL UNIQUE,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor >= -1),
    amount_gbp_minor bigint NOT NULL CHECK (amount_gbp_minor >= -1),
    summary text NOT NULL,
    opened_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > opened_at),
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (decision_id, round)
);
CREATE INDEX review_case_account ON review.review_case (account_id);
CREATE INDEX review_case_transaction ON review.review_case (transaction_id);
SELECT control.make_append_only('review.review_case');

-- The events of a case, in the order of their sequence; pipeline/review/cases.py has the states. Two people who act at
-- once write the same sequence, and one of them is refused. topic_*: the position of the record that was read, if any.
CREATE TABLE review.case_event (
    decision_id uuid NOT NULL,
    round integer NOT NULL,
    sequence integer NOT NULL CHECK (sequence BETWEEN 1 AND 1000),
    kind text NOT NULL CHECK (kind IN ('OPENED', 'CLAIMED', 'RELEASED', 'PROPOSED', 'DECLINED', 'DECIDED', 'EXPIRED',
                                       'WITHDRAWN', 'PUBLISHED')),
    actor text NOT NULL CHECK (length(actor) BETWEEN 2 AND 64),
    at timestamptz NOT NULL,
    outcome text CHECK (outcome IN ('ALLOW', 'BLOCK')),
    reason text CHECK (length(btrim(reason)) BETWEEN 1 AND 4000),
    claimed_until timestamptz,
    topic_partition integer,
    topic_offset bigint,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (decision_id, round, sequence),
    FOREIGN KEY (decision_id, round) REFERENCES review.review_case,
    CHECK ((sequence = 1) = (kind = 'OPENED')),
    CHECK ((outcome IS NOT NULL) = (kind IN ('PROPOSED', 'DECLINED', 'DECIDED', 'EXPIRED'))),
    CHECK (reason IS NOT NULL OR kind NOT IN ('PROPOSED', 'DECLINED', 'DECIDED', 'EXPIRED', 'WITHDRAWN')),
    CHECK (kind <> 'EXPIRED' OR outcome = 'BLOCK'),
    CHECK ((claimed_until IS NOT NULL) = (kind = 'CLAIMED'))
);
CREATE UNIQUE INDEX case_event_one_outcome ON review.case_event (decision_id, round)
    WHERE kind IN ('DECIDED', 'EXPIRED');
CREATE UNIQUE INDEX case_event_one_end ON review.case_event (decision_id, round)
    WHERE kind IN ('PUBLISHED', 'WITHDRAWN');
SELECT control.make_append_only('review.case_event');

-- Every case that has not ended, with its latest event.
CREATE VIEW review.case_under_way WITH (security_invoker = true) AS
SELECT c.*, latest.sequence, latest.kind, latest.actor, latest.at, latest.outcome, latest.claimed_until
FROM review.review_case c
JOIN LATERAL (
    SELECT e.sequence, e.kind, e.actor, e.at, e.outcome, e.claimed_until
    FROM review.case_event e
    WHERE e.decision_id = c.decision_id AND e.round = c.round
    ORDER BY e.sequence DESC LIMIT 1
) latest ON true
WHERE NOT EXISTS (
    SELECT FROM review.case_event e
    WHERE e.decision_id = c.decision_id AND e.round = c.round AND e.kind IN ('PUBLISHED', 'WITHDRAWN')
);

GRANT USAGE ON SCHEMA review TO fraud_review;
GRANT SELECT, INSERT ON review.review_case, review.case_event TO fraud_review;
GRANT SELECT ON review.case_under_way, control.person_grant TO fraud_review;
