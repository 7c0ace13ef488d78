-- Whoever resolves an incident ends the pages about it, too: the same person signs both, in one transaction. The database
-- asks for the act of an OPERATOR in each row, so this role alone ends nothing.
GRANT INSERT (act, group_id, kind, acted_by, note, recorded_at) ON control.alert_act TO fraud_incident;
CREATE INDEX alert_turn_alert ON control.alert_turn (alert_id);
