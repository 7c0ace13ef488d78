-- Reconciliation: what was compared, how far, and every gap that was found or has closed since. All of it is
-- append-only.

CREATE TABLE control.reconciliation (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now() CHECK (closed_at >= opened_at),
    stretch jsonb NOT NULL,  -- [topic, partition, first offset, offset after the last] of each part
    taken_in bigint NOT NULL CHECK (taken_in >= 0),
    decisions bigint NOT NULL CHECK (decisions >= 0),
    dead_letters bigint NOT NULL CHECK (dead_letters >= 0),
    duplicates bigint NOT NULL CHECK (duplicates >= 0),
    audited bigint NOT NULL CHECK (audited >= 0),
    executed bigint NOT NULL CHECK (executed >= 0),
    gaps integer NOT NULL CHECK (gaps >= 0)
);

CREATE TABLE control.reconciliation_gap (
    gap_id uuid NOT NULL,  -- follows from the gap's content
    event text NOT NULL CHECK (event IN ('OPENED', 'CLOSED')),
    kind text NOT NULL,
    side text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    first_offset bigint NOT NULL CHECK (first_offset >= 0),
    last_offset bigint NOT NULL CHECK (last_offset >= first_offset),
    records bigint NOT NULL CHECK (records > 0),
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gap_id, event)
);

SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.reconciliation', 'control.reconciliation_gap']::regclass[]) AS logged;

-- Reconciliation looks up rows by offset. Rows are appended in about that order, so a summary of each few pages is
-- enough, and it costs an insert next to nothing.
CREATE INDEX ai_decision_log_place ON audit.ai_decision_log
    USING brin (topic_offset, source_offset) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX reversal_log_place ON audit.reversal_log
    USING brin (topic_offset) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX review_log_place ON audit.review_log
    USING brin (topic_offset) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX dead_letter_place ON audit.dead_letter
    USING brin (topic_offset) WITH (pages_per_range = 16, autosummarize = on);

GRANT SELECT, INSERT ON control.reconciliation, control.reconciliation_gap TO fraud_reconcile;
