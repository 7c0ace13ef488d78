-- name: append_proposal
-- Somebody proposes a drill on the live breaker; the database says when, and checks role and act.
INSERT INTO control.live_drill_proposal (
    drill_id, drill, scope, open_s, begins_from, begins_until, pages, reason, proposed_by, act
)
VALUES (
    %(drill_id)s, %(drill)s, %(scope)s, %(open_s)s,
    timestamptz 'epoch' + %(from_ms)s::bigint * interval '1 millisecond',
    timestamptz 'epoch' + %(until_ms)s::bigint * interval '1 millisecond',
    %(pages)s, %(reason)s, %(by)s, decode(%(act)s, 'hex')
);

-- name: append_consent
-- Another person confirms exactly that, once.
INSERT INTO control.live_drill_consent (drill_id, confirmed_by, act)
VALUES (%(drill_id)s, %(by)s, decode(%(act)s, 'hex'));

-- name: append_begin
-- One of the two begins it, which uses the consent up.
INSERT INTO control.live_drill_begin (drill_id, begun_by, act) VALUES (%(drill_id)s, %(by)s, decode(%(act)s, 'hex'));

-- name: read_live_drills
-- Every live drill that was proposed, with what became of it, the latest first.
SELECT proposal.drill_id, proposal.drill, proposal.scope, proposal.open_s,
    (extract(epoch FROM proposal.begins_from) * 1000)::bigint,
    (extract(epoch FROM proposal.begins_until) * 1000)::bigint, proposal.pages, proposal.reason,
    proposal.proposed_by, encode(proposal.act, 'hex'), consent.confirmed_by, encode(consent.act, 'hex'),
    begun.begun_by, (extract(epoch FROM begun.begun_at) * 1000)::bigint, record.verdict,
    proposal.begins_until <= now()
FROM control.live_drill_proposal AS proposal
LEFT JOIN control.live_drill_consent AS consent USING (drill_id)
LEFT JOIN control.live_drill_begin AS begun USING (drill_id)
LEFT JOIN control.drill_record AS record USING (drill_id)
WHERE %(wanted)s::text IS NULL OR proposal.drill_id = %(wanted)s
ORDER BY proposal.proposed_at DESC, proposal.drill_id LIMIT %(limit)s;

-- name: page_of_drill
-- When the first message about a drill's alert arrived at a sink, and at which, in order.
SELECT (extract(epoch FROM arrived.recorded_at) * 1000)::bigint, planned.sink
FROM control.alert_group AS told
JOIN control.alert_delivery AS planned USING (group_id)
JOIN control.alert_attempt AS arrived USING (delivery_id)
WHERE told.code = 'BREAKER_DRILL' AND told.evidence ->> 'drill' = %(drill_id)s
    AND planned.kind = 'TRIGGERED' AND arrived.kind = 'DELIVERED'
ORDER BY arrived.recorded_at, planned.sink LIMIT 100;

-- name: incident_of_drill
-- The incident that a drill's alert opened or joined, and its kind.
SELECT opened.incident_id::text, opened.kind
FROM control.incident_alert AS told JOIN control.incident AS opened USING (incident_id)
WHERE told.code = 'BREAKER_DRILL' AND told.evidence ->> 'drill' = %(drill_id)s
ORDER BY told.recorded_at LIMIT 1;
