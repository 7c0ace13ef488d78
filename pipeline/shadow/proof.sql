-- name: unfounded_answers
-- Answers of a challenger beside a champion that stand beside no decision which that champion's model made so, then: how
-- many of those that the audit log has come to, and how many of those that it has not.
SELECT count(*) FILTER (WHERE topic_offset <= audited_to), count(*) FILTER (WHERE topic_offset > audited_to)
FROM (
    SELECT given.topic_offset, coalesce((
        SELECT link.last_offset FROM audit.chain_link AS link WHERE link.topic_partition = given.topic_partition
        ORDER BY link.tree_size DESC LIMIT 1
    ), -1) AS audited_to
    FROM shadow.answer AS given
    WHERE given.digest = %(digest)s AND given.champion_version = %(champion)s AND given.standing = 'COMPARED'
        AND NOT EXISTS (
            SELECT FROM audit.ai_decision_log AS decided
            WHERE decided.decision_id = given.decision_id AND decided.route = 'MODEL'
                AND decided.model_hash = %(champion_digest)s AND decided.decision = given.champion_outcome
                AND decided.logged_at = given.decided_at
        )
) AS unfounded;

-- name: doubled_answers
-- About how many decisions a challenger is said to have answered more than once beside a champion.
SELECT count(*) FROM (
    SELECT FROM shadow.answer WHERE digest = %(digest)s AND champion_version = %(champion)s AND standing = 'COMPARED'
    GROUP BY decision_id HAVING count(*) > 1
) AS doubled;

-- name: decided_in
-- How many payments a champion's model decided in a span.
SELECT count(*) FROM audit.ai_decision_log
WHERE logged_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond'
    AND logged_at <= timestamptz 'epoch' + %(until_ms)s::bigint * interval '1 millisecond'
    AND (filed_at = timestamptz 'epoch' OR (
        filed_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond'
        AND filed_at <= timestamptz 'epoch' + %(until_ms)s::bigint * interval '1 millisecond'
    ))
    AND route = 'MODEL' AND model_hash = %(champion_digest)s;

-- name: decisions_by_chance
-- Some of these, by the database's chance: each is drawn with the same one, and of what is drawn so many are given.
SELECT record, topic_partition, topic_offset, control.as_ms(logged_at) FROM audit.ai_decision_log
WHERE logged_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond'
    AND logged_at <= timestamptz 'epoch' + %(until_ms)s::bigint * interval '1 millisecond'
    AND (filed_at = timestamptz 'epoch' OR (
        filed_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond'
        AND filed_at <= timestamptz 'epoch' + %(until_ms)s::bigint * interval '1 millisecond'
    ))
    AND route = 'MODEL' AND model_hash = %(champion_digest)s AND random() < %(chance)s::double precision
ORDER BY random() LIMIT %(limit)s;

-- name: answers_about
-- What a challenger is said to have answered about decisions.
SELECT decision_id::text, standing, transaction_id, champion_version, champion_outcome, challenger_outcome, challenger_ppm,
    amount_gbp_minor
FROM shadow.answer WHERE digest = %(digest)s AND decision_id = ANY (%(decision_ids)s::uuid[]);
