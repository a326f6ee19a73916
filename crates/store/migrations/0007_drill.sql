-- Rehearsals, and what they took.

-- What the inventory declares.
CREATE TABLE drill (
  -- What timers know it by.
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  secret TEXT NOT NULL,
  kind TEXT NOT NULL,
  every INTEGER NOT NULL,
  within INTEGER NOT NULL,
  -- '' for whoever owns the secret.
  team TEXT NOT NULL,
  node TEXT NOT NULL,
  region TEXT NOT NULL,
  declared_at INTEGER,
  retired_at INTEGER
);
CREATE INDEX drill_by_secret ON drill (secret, name) WHERE retired_at IS NULL;

-- One rehearsal. Rows are small and are kept for good.
CREATE TABLE drill_run (
  id INTEGER PRIMARY KEY,
  -- The drill that it belongs to, or secret/NAME for one that nobody declared.
  name TEXT NOT NULL,
  secret_id INTEGER NOT NULL,
  -- One at a time for each service; secret/NAME for a secret without one.
  service TEXT NOT NULL,
  kind TEXT NOT NULL,
  node TEXT NOT NULL,
  region TEXT NOT NULL,
  every INTEGER NOT NULL,
  within INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  phase TEXT NOT NULL,
  generation INTEGER NOT NULL,
  -- What is waited for, and the sentence; '' once it is over.
  awaits TEXT NOT NULL,
  detail TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  -- 0 before it is known.
  version INTEGER NOT NULL,
  issued_at INTEGER,
  -- The newest of its rollouts, 0 for none yet.
  rollout_id INTEGER NOT NULL,
  -- The incident that an alert drill waited for, 0 for none yet.
  incident_id INTEGER NOT NULL,
  -- Since when something is made to go wrong, when it was noticed, and when it was lifted.
  fault_at INTEGER,
  noticed_at INTEGER,
  lifted_at INTEGER,
  ended_at INTEGER,
  -- Why it failed (JSON).
  reasons TEXT NOT NULL,
  -- What it took: targets observed, left behind, left; the whole way in seconds; each step, in all and by wave (JSON).
  observed INTEGER NOT NULL,
  quarantined INTEGER NOT NULL,
  left_over INTEGER NOT NULL,
  p50 INTEGER,
  p95 INTEGER,
  max INTEGER,
  steps TEXT NOT NULL
);
CREATE INDEX drill_run_by_name ON drill_run (name, id);
-- One at a time in one service.
CREATE UNIQUE INDEX drill_run_open ON drill_run (service) WHERE ended_at IS NULL;
CREATE INDEX drill_run_by_secret ON drill_run (secret_id, id);

-- Services that a rotation reached: where it proves the critical path.
CREATE TABLE drill_reach (
  service TEXT NOT NULL,
  run_id INTEGER NOT NULL,
  PRIMARY KEY (service, run_id)
);
CREATE INDEX drill_reach_by_run ON drill_reach (run_id, service);

-- What is made to go wrong now; a row goes when it is lifted.
CREATE TABLE drill_fault (
  run_id INTEGER NOT NULL,
  node_id INTEGER NOT NULL,
  secret_id INTEGER NOT NULL,
  fault TEXT NOT NULL,
  since INTEGER NOT NULL,
  -- When the node said that the last good version is in place again.
  put_back_at INTEGER,
  PRIMARY KEY (run_id, node_id)
);
CREATE INDEX drill_fault_by_node ON drill_fault (node_id, run_id);
