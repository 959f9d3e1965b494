-- Schema 3: what is about one thing is found in the trail, so that whoever acts on a row can compare it
-- with what the trail says. Chunks of certificates are not in these indexes, but for the deliveries
-- that bring a batch further: one entry a chunk.

CREATE INDEX IF NOT EXISTS audit_action ON audit (action, subject)
    WHERE action NOT IN ('certificates-recorded', 'certificates-delivered');
CREATE INDEX IF NOT EXISTS audit_progress ON audit (subject)
    WHERE action = 'certificates-delivered' AND subject <> '';
