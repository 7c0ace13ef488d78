-- Dead letters that were sent back to be decided again: by whom, why, and which. All of it is append-only.

-- One sending. transactions_from: the end of each partition of transactions.v1 before the payments were appended, from
-- which a later run looks for them where nothing says that they were.
CREATE TABLE control.redrive (
    redrive_id uuid PRIMARY KEY,
    requested_by text NOT NULL CHECK (length(btrim(requested_by)) BETWEEN 1 AND 64),
    reason text NOT NULL CHECK (length(btrim(reason)) BETWEEN 1 AND 2000),
    criteria jsonb NOT NULL,
    transactions_from jsonb NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now()
);

-- The letters of a sending, by the record that each is about: its place, and what stood there, since a topic that was
-- made anew counts its offsets from 0 again. The key lets each be sent once.
CREATE TABLE control.redrive_letter (
    source_topic text NOT NULL CHECK (length(source_topic) BETWEEN 1 AND 249),
    source_partition integer NOT NULL CHECK (source_partition >= 0),
    source_offset bigint NOT NULL CHECK (source_offset >= 0),
    redrive_id uuid NOT NULL REFERENCES control.redrive,
    code text NOT NULL,
    payload_sha256 bytea NOT NULL CHECK (length(payload_sha256) = 32),
    PRIMARY KEY (source_topic, source_partition, source_offset, payload_sha256)
);
CREATE INDEX redrive_letter_redrive ON control.redrive_letter (redrive_id);

-- Where the payment of a letter stands on its topic because it was redriven. It is sent once more only where what was
-- sent before became a duplicate of what was never decided.
CREATE TABLE control.redrive_published (
    published_partition integer NOT NULL CHECK (published_partition >= 0),
    published_offset bigint NOT NULL CHECK (published_offset >= 0),
    source_topic text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    payload_sha256 bytea NOT NULL,
    published_by text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_topic, source_partition, source_offset, payload_sha256, published_partition, published_offset),
    FOREIGN KEY (source_topic, source_partition, source_offset, payload_sha256) REFERENCES control.redrive_letter
);

SELECT control.make_append_only(logged)
FROM unnest(ARRAY['control.redrive', 'control.redrive_letter', 'control.redrive_published']::regclass[]) AS logged;

GRANT INSERT ON control.redrive, control.redrive_letter, control.redrive_published TO fraud_rollback;
