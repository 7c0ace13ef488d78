-- What the seed of a red team's evidence rests on beside both artefacts and the policy (ADR 0050). The database draws it
-- once, when the check is first asked for, and then it stands: whoever makes artefacts can't know the seed of one before,
-- and whoever tries many leaves a row for each.
CREATE TABLE control.model_draw (
    digest bytea NOT NULL CHECK (length(digest) = 32),
    champion bytea NOT NULL CHECK (length(champion) = 32),
    policy bytea NOT NULL CHECK (length(policy) = 32),
    drawn bytea NOT NULL CHECK (length(drawn) = 32),
    drawn_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (digest, champion, policy)
);
SELECT control.make_append_only('control.model_draw');

-- Return what was drawn for a version beside a champion under a policy, all by their SHA-256; draw it where nothing was.
-- No role may insert the row itself, so nobody chooses it. Two random UUIDs hold 244 bits of chance.
CREATE FUNCTION control.draw_for(version_digest bytea, champion_digest bytea, policy_sha256 bytea) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO control.model_draw (digest, champion, policy, drawn)
    VALUES (version_digest, champion_digest, policy_sha256,
        uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ON CONFLICT DO NOTHING;
    RETURN (SELECT before.drawn FROM control.model_draw AS before
        WHERE before.digest = version_digest AND before.champion = champion_digest AND before.policy = policy_sha256);
END
$$;

-- Rights. Who moves the champion also has it checked.
SELECT control.follow('control.model_draw');
REVOKE EXECUTE ON FUNCTION control.draw_for(bytea, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.draw_for(bytea, bytea, bytea) TO fraud_incident;
