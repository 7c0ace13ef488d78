-- Records of decisions.v1 of which it was not proved who wrote them, by who passed them over; append-only.

CREATE TABLE control.unproved_record (
    consumer text NOT NULL CHECK (consumer IN ('executor', 'review', 'audit', 'shadow')),
    topic text NOT NULL CHECK (length(topic) BETWEEN 1 AND 249),
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    why text NOT NULL CHECK (why ~ '^[A-Z_]{1,40}$'),
    key_id text CHECK (key_id ~ '^[0-9a-f]{16}$'),
    record_sha256 bytea NOT NULL CHECK (length(record_sha256) = 32),
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, topic, topic_partition, topic_offset)
);

SELECT control.make_append_only('control.unproved_record');

-- What a consumer noted it goes by after a crash: nobody notes for another, or makes it wait for a row of theirs.
ALTER TABLE control.unproved_record ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody_reads ON control.unproved_record FOR SELECT USING (true);
CREATE POLICY notes_its_own ON control.unproved_record FOR INSERT WITH CHECK (current_user = 'fraud_' || consumer);

GRANT SELECT ON control.unproved_record TO fraud_service, fraud_reader;
GRANT INSERT ON control.unproved_record TO fraud_executor, fraud_review, fraud_audit;
