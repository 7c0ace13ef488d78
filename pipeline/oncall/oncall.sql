-- name: take_turn
-- Whoever sends has this row; another instance of the service waits for it.
SELECT control.take_alerts_turn();

-- name: append_group
-- A group, by the first record of it. The same record again makes none.
INSERT INTO control.alert_group (group_id, code, scope, severity, summary, evidence)
VALUES (%(group_id)s, %(code)s, %(scope)s, %(severity)s, %(summary)s, %(evidence)s);

-- name: append_turn
-- Whether an alert of a group is over.
INSERT INTO control.alert_turn (group_id, alert_id, turn, is_over, code, scope, raised_at_ms)
VALUES (%(group_id)s, %(alert_id)s, %(turn)s, %(is_over)s, %(code)s, %(scope)s, %(raised_at_ms)s);

-- name: append_event
-- What became of a group.
INSERT INTO control.alert_event (group_id, sequence, kind, records, level, is_counted, raised_at_ms, actor, note, act)
VALUES (%(group_id)s, %(sequence)s, %(kind)s, %(records)s, %(level)s, %(is_counted)s, %(raised_at_ms)s, %(actor)s,
    %(note)s, decode(%(act)s, 'hex'));

-- name: append_delivery
-- A message to a sink, before anything of it is sent.
INSERT INTO control.alert_delivery (delivery_id, group_id, sink, number, kind, message)
VALUES (%(delivery_id)s, %(group_id)s, %(sink)s, %(number)s, %(kind)s, %(message)s);

-- name: append_attempt
-- What was tried with a message, and how that ended.
INSERT INTO control.alert_attempt (delivery_id, sequence, kind, why, receipt, again_at, waiting)
VALUES (%(delivery_id)s, %(sequence)s, %(kind)s, %(why)s, %(receipt)s,
    timestamptz 'epoch' + %(again_at_ms)s::bigint * interval '1 millisecond', %(waiting)s::text[]);

-- name: append_own_alert
-- What the service has to say itself, until it stands on alerts.v1.
INSERT INTO control.own_alert (alert) VALUES (%(alert)s);

-- name: own_alerts_to_tell
-- What does not stand on alerts.v1 yet, in order.
SELECT own.sequence, own.alert FROM control.own_alert AS own
WHERE NOT EXISTS (SELECT FROM control.own_alert_told AS told WHERE told.sequence = own.sequence)
ORDER BY own.sequence LIMIT %(limit)s;

-- name: own_ends
-- Of these alerts, the words of the service itself that what they told of is over: the id and the time of each.
SELECT alert ->> 'alert_id', alert ->> 'raised_at_ms' FROM control.own_alert
WHERE alert -> 'is_over' = 'true' AND alert ->> 'alert_id' = ANY (%(alert_ids)s);

-- name: append_own_alert_told
-- It stands on alerts.v1. Another process may have told the same.
INSERT INTO control.own_alert_told (sequence) VALUES (%(sequence)s) ON CONFLICT DO NOTHING;

-- name: open_groups
-- The groups that are not over, the oldest first; and those that ended in a person's name lately, for whoever proves it.
SELECT group_id::text, code, scope, severity, summary, evidence, (extract(epoch FROM opened_at) * 1000)::bigint
FROM control.alert_group AS opened
WHERE NOT EXISTS (
    SELECT FROM control.alert_event AS over WHERE over.group_id = opened.group_id AND over.kind = 'RESOLVED'
) OR group_id IN (
    SELECT over.group_id FROM control.alert_event AS over
    WHERE over.act IS NOT NULL AND over.kind = 'RESOLVED' AND over.recorded_at > clock_timestamp() - interval '7 days'
)
ORDER BY opened_at, group_id;

-- name: just_resolved
-- The groups that were over no longer ago than this, in milliseconds: Alertmanager is still told so.
SELECT opened.group_id::text, opened.code, opened.scope, opened.severity, opened.summary, opened.evidence,
    (extract(epoch FROM opened.opened_at) * 1000)::bigint
FROM control.alert_event AS over JOIN control.alert_group AS opened USING (group_id)
WHERE over.kind = 'RESOLVED' AND over.recorded_at > clock_timestamp() - %(within_ms)s * interval '1 millisecond';

-- name: last_events
-- The sequence of the last event of each of these groups, and whether the service is said to have ended it.
SELECT group_id::text, max(sequence), bool_or(kind = 'RESOLVED' AND act IS NULL)
FROM control.alert_event WHERE group_id = ANY (%(groups)s::uuid[]) GROUP BY group_id;

-- name: ended_unheard
-- The groups that were told of and that the service is said to have ended lately, though nobody was told of the end: it
-- never ends one so.
SELECT group_id::text, code, scope, severity, summary, evidence, (extract(epoch FROM opened_at) * 1000)::bigint
FROM control.alert_group AS opened
WHERE severity <> 'INFO' AND EXISTS (
    SELECT FROM control.alert_event AS over WHERE over.group_id = opened.group_id AND over.kind = 'RESOLVED'
        AND over.act IS NULL AND over.recorded_at > clock_timestamp() - interval '7 days'
) AND EXISTS (SELECT FROM control.alert_delivery AS told WHERE told.group_id = opened.group_id)
AND NOT EXISTS (
    SELECT FROM control.alert_delivery AS told WHERE told.group_id = opened.group_id AND told.kind = 'RESOLVED'
)
ORDER BY opened_at, group_id;

-- name: events_of
-- What became of these groups, in order.
SELECT group_id::text, kind, (extract(epoch FROM recorded_at) * 1000)::bigint, records, level, is_counted, raised_at_ms,
    actor, note, encode(act, 'hex')
FROM control.alert_event WHERE group_id = ANY (%(groups)s::uuid[]) ORDER BY group_id, sequence;

-- name: turns_of
-- The latest word about each kept alert of these groups.
SELECT DISTINCT ON (group_id, alert_id) group_id::text, alert_id, turn, is_over, code, scope, raised_at_ms
FROM control.alert_turn WHERE group_id = ANY (%(groups)s::uuid[]) ORDER BY group_id, alert_id, turn DESC;

-- name: deliveries_of
-- The messages about these groups, and all that have not ended, in the order in which they were planned.
SELECT planned.message, (extract(epoch FROM planned.planned_at) * 1000)::bigint
FROM control.alert_delivery AS planned
WHERE planned.group_id = ANY (%(groups)s::uuid[]) OR NOT EXISTS (
    SELECT FROM control.alert_attempt AS ended WHERE ended.delivery_id = planned.delivery_id
        AND ended.kind IN ('DELIVERED', 'REFUSED', 'GAVE_UP', 'DOUBTFUL')
)
ORDER BY planned.planned_at, planned.delivery_id;

-- name: attempts_of
-- What was tried with these messages, in order.
SELECT delivery_id::text, kind, why, (extract(epoch FROM again_at) * 1000)::bigint, receipt, waiting
FROM control.alert_attempt WHERE delivery_id = ANY (%(deliveries)s::uuid[]) ORDER BY delivery_id, sequence;

-- name: acts_to_do
-- What people did about groups that are not over, and that has not been carried out, in order of what was signed after
-- this sequence.
SELECT signed.sequence, encode(done.act, 'hex'), done.group_id::text, done.kind, done.acted_by, done.note,
    (extract(epoch FROM done.recorded_at) * 1000)::bigint
FROM control.alert_act AS done JOIN control.signed_act AS signed ON signed.digest = done.act
WHERE signed.sequence > %(after)s
    AND NOT EXISTS (SELECT FROM control.alert_event AS carried WHERE carried.act = done.act)
    AND NOT EXISTS (
        SELECT FROM control.alert_event AS over WHERE over.group_id = done.group_id AND over.kind = 'RESOLVED' AND over.act IS NULL
    )
ORDER BY signed.sequence LIMIT %(limit)s;

-- name: silences
-- The silences that have not run out, in order of what was signed after this sequence.
SELECT signed.sequence, encode(silence.act, 'hex'), silence.silence_id::text, silence.code, silence.scope, silence.severity,
    (extract(epoch FROM silence.began_at) * 1000)::bigint, (extract(epoch FROM silence.ends_at) * 1000)::bigint,
    silence.silenced_by, silence.reason
FROM control.alert_silence AS silence JOIN control.signed_act AS signed ON signed.digest = silence.act
WHERE silence.ends_at > clock_timestamp() AND signed.sequence > %(after)s ORDER BY signed.sequence LIMIT %(limit)s;

-- name: silence_ends
-- Who ended which of these silences before its time.
SELECT silence_id::text, ended_by, encode(act, 'hex')
FROM control.alert_silence_end WHERE silence_id = ANY (%(silences)s::uuid[]);

-- name: append_act
-- A person acknowledges a group, or says that it is over; the database checks role and act.
INSERT INTO control.alert_act (act, group_id, kind, acted_by, note)
VALUES (decode(%(act)s, 'hex'), %(group_id)s, %(kind)s, %(by)s, %(note)s);

-- name: append_silence
-- A person silences what matches, until then.
INSERT INTO control.alert_silence (silence_id, code, scope, severity, ends_at, reason, silenced_by, act)
VALUES (%(silence_id)s, %(code)s, %(scope)s, %(severity)s,
    timestamptz 'epoch' + %(ends_at_ms)s::bigint * interval '1 millisecond', %(reason)s, %(by)s, decode(%(act)s, 'hex'));

-- name: append_silence_end
-- A person ends a silence before its time.
INSERT INTO control.alert_silence_end (silence_id, ended_by, act) VALUES (%(silence_id)s, %(by)s, decode(%(act)s, 'hex'));

-- name: found_group
-- A group by its id or its beginning, two where that is not clear.
SELECT group_id::text, code, scope, severity, summary, evidence, (extract(epoch FROM opened_at) * 1000)::bigint
FROM control.alert_group WHERE group_id::text LIKE %(beginning)s || '%%' ORDER BY group_id LIMIT 2;

-- name: latest_groups
-- The latest groups, the newest first, whether or not they are over.
SELECT group_id::text, code, scope, severity, summary, evidence, (extract(epoch FROM opened_at) * 1000)::bigint
FROM control.alert_group ORDER BY opened_at DESC, group_id LIMIT %(limit)s;

-- name: deliveries_about
-- The messages about a group, in order.
SELECT message, (extract(epoch FROM planned_at) * 1000)::bigint
FROM control.alert_delivery WHERE group_id = %(group_id)s ORDER BY planned_at, sink, number;

-- name: group_of_alert
-- The group that holds an alert, the newest one.
SELECT group_id::text FROM control.alert_turn WHERE alert_id = %(alert_id)s ORDER BY recorded_at DESC LIMIT 1;

-- name: alerts_since
-- The alerts of a group that were raised, or raised again, since it was said to be over.
SELECT DISTINCT turn.alert_id FROM control.alert_turn AS turn JOIN control.alert_act AS done USING (group_id)
WHERE done.act = decode(%(act)s, 'hex') AND turn.recorded_at > done.recorded_at AND NOT turn.is_over;
