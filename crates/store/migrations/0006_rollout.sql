-- Versions on their way to their targets, and certificates that must be replaced by a deadline.

-- By which waves versions go out, as the inventory file says (JSON).
CREATE TABLE rollout_policy (
  name TEXT PRIMARY KEY,
  policy TEXT NOT NULL,
  retired_at INTEGER
);

CREATE TABLE rollout (
  -- What timers know it by.
  id INTEGER PRIMARY KEY,
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  -- What its targets served when it began; 0 where that is unknown.
  from_version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  -- The policy as it was when it began (JSON).
  policy TEXT NOT NULL,
  -- The hash of its current plan; another becomes current only where this is its parent. Null before it began.
  plan BLOB,
  -- The wave that began last, counted from 0; null before the first.
  wave INTEGER,
  wave_at INTEGER,
  -- Why it was started, and by whom.
  reason TEXT NOT NULL,
  actor TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  begun_at INTEGER,
  ended_at INTEGER,
  -- Who stopped it, '' for nobody.
  halted_by TEXT NOT NULL,
  halted_reason TEXT NOT NULL,
  halted_at INTEGER,
  -- The revocation that asked for it, and the rollout that it takes back; 0 for none.
  revocation_id INTEGER NOT NULL,
  takes_back INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  -- What was decided last, in words; what is waited for (JSON), how many reasons more there are than are kept, since when that stands.
  said TEXT NOT NULL,
  reasons TEXT NOT NULL,
  more INTEGER NOT NULL,
  decided_at INTEGER
);
CREATE INDEX rollout_by_secret ON rollout (secret_id, id);
CREATE INDEX rollout_open ON rollout (secret_id, id) WHERE ended_at IS NULL;
-- One at a time on the way.
CREATE UNIQUE INDEX rollout_running ON rollout (secret_id) WHERE state = 'running';

-- Every plan that a rollout had, as it was made.
CREATE TABLE rollout_plan (
  hash BLOB NOT NULL,
  rollout_id INTEGER NOT NULL,
  parent BLOB,
  -- Its waves without their targets (JSON); those are rows of rollout_target for the current plan.
  plan TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (rollout_id, hash)
);

CREATE TABLE rollout_target (
  rollout_id INTEGER NOT NULL,
  target_id INTEGER NOT NULL,
  wave INTEGER NOT NULL,
  -- Its place in the wave.
  place INTEGER NOT NULL,
  -- When its nodes were told; since when it was observed serving the version without a break; when it was left behind.
  begun_at INTEGER,
  observed_at INTEGER,
  quarantined_at INTEGER,
  PRIMARY KEY (rollout_id, target_id)
);
CREATE INDEX rollout_target_by_target ON rollout_target (target_id, rollout_id);
CREATE INDEX rollout_target_left_behind ON rollout_target (rollout_id, target_id) WHERE quarantined_at IS NOT NULL;

-- What an issuer, or a person, says must be replaced by a deadline.
CREATE TABLE revocation (
  id INTEGER PRIMARY KEY,
  -- What it was asked for: an issuer's text, a fingerprint, names of secrets (JSON).
  asked TEXT NOT NULL,
  deadline_at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  actor TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  -- When every target was observed without what is to be replaced.
  ended_at INTEGER,
  generation INTEGER NOT NULL
);
CREATE INDEX revocation_open ON revocation (id) WHERE ended_at IS NULL;

-- The leaves that it is about.
CREATE TABLE revoked_leaf (
  revocation_id INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (revocation_id, leaf)
);
CREATE INDEX revoked_leaf_by_leaf ON revoked_leaf (leaf, revocation_id);
CREATE INDEX revoked_leaf_by_version ON revoked_leaf (secret_id, version, revocation_id);

-- The secrets that it is about, in the order of risk, and what became of each.
CREATE TABLE revocation_secret (
  revocation_id INTEGER NOT NULL,
  secret_id INTEGER NOT NULL,
  -- The least goes first.
  place INTEGER NOT NULL,
  -- The newest version when it was opened; a newer one replaces it.
  version INTEGER NOT NULL,
  -- The rollout that brings the replacement, 0 for none yet; what is waited for otherwise.
  rollout_id INTEGER NOT NULL,
  detail TEXT NOT NULL,
  done_at INTEGER,
  PRIMARY KEY (revocation_id, secret_id)
);
CREATE INDEX revocation_secret_by_secret ON revocation_secret (secret_id, revocation_id);
