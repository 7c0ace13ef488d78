-- The objects that the migrations themselves need. This runs before them every time, and changes nothing that exists.

CREATE SCHEMA IF NOT EXISTS control;

CREATE TABLE IF NOT EXISTS control.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    applied_at timestamptz NOT NULL DEFAULT now()
);
