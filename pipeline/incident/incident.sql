-- name: take_turn
-- Lets one at a time decide where alerts belong, or end an incident.
SELECT control.take_incident_turn();

-- name: append_transition
-- A transition of the breaker; one that stands there already is the same.
INSERT INTO control.breaker_transition (
    alert_id, scope, event, before_state, after_state, version, author, cause, counts, evidence, at, topic_partition,
    topic_offset
)
VALUES (
    %(alert_id)s, %(scope)s, %(event)s, %(before)s, %(after)s, %(version)s, %(author)s, %(cause)s, %(counts)s,
    %(evidence)s, timestamptz 'epoch' + %(at_ms)s * interval '1 millisecond', %(partition)s, %(offset)s
)
ON CONFLICT (alert_id) DO NOTHING;

-- name: is_stored
-- Whether this raising of an alert is part of an incident.
SELECT EXISTS (
    SELECT FROM control.incident_alert
    WHERE alert_id = %(alert_id)s AND raised_at = timestamptz 'epoch' + %(raised_at_ms)s * interval '1 millisecond'
);

-- name: standing
-- The incidents of a kind that nothing says are resolved, or whose resolutions are yet to be proved: their scopes, the
-- first and last of their alerts, whether there is a resolution, and whether they hold what a worker is proved to have told.
SELECT opened.incident_id::text, array_agg(DISTINCT told.scope),
    (extract(epoch FROM min(told.raised_at)) * 1000)::bigint, (extract(epoch FROM max(told.raised_at)) * 1000)::bigint,
    EXISTS (
        SELECT FROM control.incident_event AS said
        WHERE said.incident_id = opened.incident_id AND said.kind = 'RESOLVED'
    ),
    EXISTS (
        SELECT FROM control.incident_alert AS held JOIN control.breaker_transition AS moved USING (alert_id)
        WHERE held.incident_id = opened.incident_id AND moved.author <> %(unproved)s
    )
FROM control.incident AS opened JOIN control.incident_alert AS told USING (incident_id)
WHERE opened.kind = %(kind)s AND NOT opened.incident_id::text = ANY (%(resolved)s::text[])
GROUP BY opened.incident_id;

-- name: append_incident
-- Opens an incident.
INSERT INTO control.incident (incident_id, kind, opened_by, raised_at, suspect_since)
VALUES (
    %(incident_id)s, %(kind)s, %(alert_id)s, timestamptz 'epoch' + %(raised_at_ms)s * interval '1 millisecond',
    timestamptz 'epoch' + %(suspect_since_ms)s * interval '1 millisecond'
)
ON CONFLICT (incident_id) DO NOTHING;

-- name: append_alert
-- An alert becomes part of an incident.
INSERT INTO control.incident_alert (
    alert_id, raised_at, incident_id, code, severity, summary, scope, evidence, topic_partition, topic_offset
)
VALUES (
    %(alert_id)s, timestamptz 'epoch' + %(raised_at_ms)s * interval '1 millisecond', %(incident_id)s, %(code)s,
    %(severity)s, %(summary)s, %(scope)s, %(evidence)s, %(partition)s, %(offset)s
)
ON CONFLICT (alert_id, raised_at) DO NOTHING;

-- name: append_event
-- What a person did about an incident.
INSERT INTO control.incident_event (incident_id, sequence, kind, actor, at, text, criterion, answer, assessment, act)
VALUES (
    %(incident_id)s, %(sequence)s, %(kind)s, %(actor)s, timestamptz 'epoch' + %(at_ms)s * interval '1 millisecond',
    %(text)s, %(criterion)s, %(answer)s, %(assessment)s, decode(%(act)s, 'hex')
);

-- name: read_ids
-- Every incident, newest first, and whether somebody is said to have resolved it.
SELECT incident_id::text, EXISTS (
    SELECT FROM control.incident_event AS said WHERE said.incident_id = opened.incident_id AND said.kind = 'RESOLVED'
)
FROM control.incident AS opened ORDER BY raised_at DESC, incident_id;

-- name: ids_like
-- The incidents whose id begins so; two are enough to know that it names none.
SELECT incident_id::text FROM control.incident WHERE starts_with(incident_id::text, %s) ORDER BY 1 LIMIT 2;

-- name: read_incident
-- An incident.
SELECT incident_id::text, kind, (extract(epoch FROM raised_at) * 1000)::bigint,
    (extract(epoch FROM suspect_since) * 1000)::bigint
FROM control.incident WHERE incident_id = %s;

-- name: read_scopes
-- The scopes of an incident's alerts.
SELECT DISTINCT scope FROM control.incident_alert WHERE incident_id = %s ORDER BY scope;

-- name: read_alerts
-- The first alerts of an incident.
SELECT alert_id::text, (extract(epoch FROM raised_at) * 1000)::bigint, code, severity, summary, scope, evidence
FROM control.incident_alert WHERE incident_id = %s ORDER BY raised_at, alert_id LIMIT %s;

-- name: read_groups
-- How often each alert was raised in an incident, and when.
SELECT code, count(*), (extract(epoch FROM min(raised_at)) * 1000)::bigint,
    (extract(epoch FROM max(raised_at)) * 1000)::bigint
FROM control.incident_alert WHERE incident_id = %s GROUP BY code ORDER BY min(raised_at), code;

-- name: read_transitions
-- The breaker's transitions in an incident's scopes, from its first alert that workers prove, where there is one, to the
-- next incident of the breaker's there:
-- so many of the first, and the first and the last of each scope however many there are, both of those that workers
-- are proved to have told and of the others.
SELECT scope, event, before_state, after_state, version, author, cause, counts, at_ms
FROM (
    SELECT moved.*, (extract(epoch FROM moved.at) * 1000)::bigint AS at_ms,
        row_number() OVER in_time AS place,
        row_number() OVER (
            PARTITION BY moved.scope, moved.author = '(unproved)'
            ORDER BY moved.at, moved.version NULLS LAST, moved.alert_id
        ) AS from_first,
        row_number() OVER (
            PARTITION BY moved.scope, moved.author = '(unproved)'
            ORDER BY moved.at DESC, moved.version DESC NULLS FIRST, moved.alert_id DESC
        ) AS from_last
    FROM control.breaker_transition AS moved
    JOIN control.incident AS opened ON opened.incident_id = %(incident_id)s AND opened.kind IN ('MODEL', 'DRILL')
    WHERE moved.scope IN (SELECT scope FROM control.incident_alert WHERE incident_id = %(incident_id)s)
        AND moved.at >= (
            SELECT coalesce(min(raised_at) FILTER (WHERE starts_with(code, 'BREAKER_')), min(raised_at))
            FROM control.incident_alert WHERE incident_id = %(incident_id)s
        )
        AND NOT EXISTS (
            SELECT FROM control.incident AS later JOIN control.incident_alert AS told USING (incident_id)
            WHERE later.kind IN ('MODEL', 'DRILL') AND later.raised_at > opened.raised_at AND told.scope = moved.scope
                AND told.raised_at <= moved.at
        )
    WINDOW in_time AS (ORDER BY moved.at, moved.version NULLS LAST, moved.alert_id)
) AS numbered
WHERE place <= %(limit)s OR from_first = 1 OR from_last = 1
ORDER BY place;

-- name: read_events
-- What people did about an incident, in order.
SELECT sequence, kind, actor, (extract(epoch FROM at) * 1000)::bigint, text, criterion, answer, assessment,
    encode(act, 'hex')
FROM control.incident_event WHERE incident_id = %s ORDER BY sequence;

-- name: like_it
-- Other incidents of the same kind that were raised in the half year before it, and touched one of its scopes.
SELECT DISTINCT other.incident_id::text, other.raised_at
FROM control.incident AS this
JOIN control.incident AS other ON other.kind = this.kind AND other.incident_id <> this.incident_id
    AND other.raised_at BETWEEN this.raised_at - interval '6 months' AND this.raised_at
JOIN control.incident_alert AS theirs ON theirs.incident_id = other.incident_id
JOIN control.incident_alert AS ours ON ours.incident_id = this.incident_id AND ours.scope = theirs.scope
WHERE this.incident_id = %s ORDER BY other.raised_at DESC LIMIT 100;

-- name: read_pages
-- The groups of alerts that are not over and hold an alert of this incident, the oldest first; and whether all that is
-- not over of each is this incident's, as far as it is known by ids.
WITH ours AS (SELECT DISTINCT alert_id::text AS alert_id FROM control.incident_alert WHERE incident_id = %(incident_id)s),
held AS (SELECT DISTINCT turn.group_id FROM control.alert_turn AS turn JOIN ours USING (alert_id)),
latest AS (
    SELECT DISTINCT ON (turn.group_id, turn.alert_id) turn.group_id, turn.alert_id, turn.is_over
    FROM control.alert_turn AS turn JOIN held USING (group_id)
    ORDER BY turn.group_id, turn.alert_id, turn.turn DESC
)
SELECT opened.group_id::text, opened.code, opened.scope, NOT EXISTS (
    SELECT FROM latest
    WHERE latest.group_id = opened.group_id AND NOT latest.is_over AND latest.alert_id NOT IN (SELECT alert_id FROM ours)
) AND NOT EXISTS (
    SELECT FROM control.alert_event AS raised WHERE raised.group_id = opened.group_id AND raised.is_counted
)
FROM control.alert_group AS opened JOIN held USING (group_id)
WHERE NOT EXISTS (
    SELECT FROM control.alert_event AS over WHERE over.group_id = opened.group_id AND over.kind = 'RESOLVED'
) AND NOT EXISTS (
    SELECT FROM control.alert_act AS done WHERE done.group_id = opened.group_id AND done.kind = 'RESOLVED'
)
ORDER BY opened.opened_at, opened.group_id LIMIT %(limit)s;
