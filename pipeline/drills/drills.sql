-- name: insert_drill
-- Append the record of a drill.
INSERT INTO control.drill_record (
    drill_id, drill, verdict, why, is_full, started_at, ended_at, carried_out_by, policy_version, policy_sha256,
    model_version, figures, report_sha256, key_id, signature
) VALUES (
    %(drill_id)s, %(drill)s, %(verdict)s, %(why)s, %(is_full)s, %(started_at)s, %(ended_at)s, %(carried_out_by)s,
    %(policy_version)s, %(policy_sha256)s, %(model_version)s, %(figures)s, %(report_sha256)s, %(key_id)s,
    %(signature)s
);

-- name: latest_drills
-- The latest full record of each drill that was carried out: whether it passed or not, somebody saw what became of it.
SELECT DISTINCT ON (drill) drill, (extract(epoch FROM ended_at) * 1000)::bigint, verdict, is_full
FROM control.drill_record
WHERE is_full AND verdict IN ('PASSED', 'FAILED')
ORDER BY drill, ended_at DESC;
