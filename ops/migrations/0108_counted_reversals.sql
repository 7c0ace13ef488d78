-- Reversals are counted by the plan that they carry out, to say how much of it stands on the topic.
CREATE INDEX reversal_log_plan ON audit.reversal_log (plan_id);
