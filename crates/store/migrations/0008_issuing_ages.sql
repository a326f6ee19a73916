-- Issuing, as it is asked about after years: what leaks stays known, what is over goes, and a failure has a moment.

-- When an issuer failed last: an old failure says nothing of it any more.
ALTER TABLE issuer_state ADD COLUMN failed_at INTEGER;
-- Failures in a row of this order alone.
ALTER TABLE signing_order ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

DROP INDEX signing_order_open;
CREATE INDEX signing_order_of_key ON signing_order (secret_id, version, scope, key, id);
CREATE INDEX signing_order_over ON signing_order (done_at, id) WHERE done_at IS NOT NULL;

-- Keys of certificates that were revoked because they leaked: never certified again, also when the certificates are long gone.
CREATE TABLE leaked_key (
  -- SHA-256 of the public key.
  key BLOB PRIMARY KEY,
  at INTEGER NOT NULL
);
INSERT INTO leaked_key (key, at) SELECT key, MIN(revoked_at) FROM issued
  WHERE reason = 'key-compromise' AND revoked_at IS NOT NULL GROUP BY key;
DROP INDEX issued_compromised;
CREATE INDEX issued_ended ON issued (done_at, id) WHERE state = 'ended';
CREATE INDEX issued_expired ON issued (not_after, id) WHERE state = 'signed';
CREATE INDEX held_key_by_age ON held_key (purpose, created_at, id);
CREATE INDEX hand_request_over ON hand_request (done_at, id) WHERE done_at IS NOT NULL;
