-- What was found missing in rollouts and revocations.

-- When a person said that the rollout goes on whatever is wrong with this target.
ALTER TABLE rollout_target ADD COLUMN excused_at INTEGER;
CREATE INDEX rollout_takes_back ON rollout (takes_back) WHERE takes_back <> 0;

-- Who took it back, empty for nobody, and why: a false alarm, or somebody else's list.
ALTER TABLE revocation ADD COLUMN withdrawn_by TEXT NOT NULL DEFAULT '';
ALTER TABLE revocation ADD COLUMN withdrawn_for TEXT NOT NULL DEFAULT '';
ALTER TABLE revocation ADD COLUMN withdrawn_at INTEGER;

-- The same leaf may be of several secrets, and of several versions of one.
CREATE TABLE revoked_leaf_of (
  revocation_id INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (revocation_id, secret_id, version, leaf)
);
INSERT INTO revoked_leaf_of (revocation_id, leaf, secret_id, version) SELECT revocation_id, leaf, secret_id, version FROM revoked_leaf;
DROP TABLE revoked_leaf;
ALTER TABLE revoked_leaf_of RENAME TO revoked_leaf;
CREATE INDEX revoked_leaf_by_leaf ON revoked_leaf (leaf, revocation_id);
CREATE INDEX revoked_leaf_by_version ON revoked_leaf (secret_id, version, revocation_id);

-- Which of the secrets of a revocation are still to be replaced, in the order of risk; when its issuer was asked.
ALTER TABLE revocation_secret ADD COLUMN asked_at INTEGER;
CREATE INDEX revocation_secret_open ON revocation_secret (revocation_id, place, secret_id) WHERE done_at IS NULL;
