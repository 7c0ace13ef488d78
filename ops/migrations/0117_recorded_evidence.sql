-- What checks of model versions found, by the files that were filed in the registry (ADR 0050). A bucket or a folder can't
-- keep anybody who may write there from taking a failed check's file away again, before somebody has approved; so its name,
-- hash and result stand here as well, and the gate holds one against the other. recorded_at: the database's own time.
CREATE TABLE control.model_evidence (
    evidence_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    file_sha256 bytea NOT NULL CHECK (length(file_sha256) = 32),
    kind text NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
    version text NOT NULL CHECK (length(version) BETWEEN 1 AND 32),
    digest bytea NOT NULL CHECK (length(digest) = 32),
    passed boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_evidence_version ON control.model_evidence (version);
SELECT control.make_append_only('control.model_evidence');

-- Rights. Whoever checks a version: by the role that moves the champion, or by the monitor's of bias and drift.
GRANT INSERT (name, file_sha256, kind, version, digest, passed) ON control.model_evidence TO fraud_incident, fraud_bias;
SELECT control.follow('control.model_evidence');
