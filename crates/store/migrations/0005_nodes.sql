-- Machines with an agent: who they are, what they are to have, and what they say they did.

CREATE TABLE node (
  -- What timers know it by.
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  region TEXT NOT NULL,
  stamp TEXT NOT NULL,
  canary INTEGER NOT NULL,
  declared_at INTEGER NOT NULL,
  retired_at INTEGER,
  -- The number of its manifest; only goes forward. When it last did.
  generation INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  -- SHA-256 of the public key that its agent lives on; null before it joined and after it was revoked.
  key BLOB,
  -- The life of the store in which it joined.
  epoch INTEGER NOT NULL,
  joined_at INTEGER,
  revoked_at INTEGER,
  -- The start of the agent that was heard last, since when, and those before it (JSON).
  instance TEXT NOT NULL,
  instance_at INTEGER,
  earlier TEXT NOT NULL,
  -- When the same identity was seen in two places, and how that showed.
  cloned_at INTEGER,
  cloned TEXT NOT NULL,
  agent TEXT NOT NULL,
  -- When it was last heard of, to some minutes; when it last reported, and which generation it acted on then.
  seen_at INTEGER,
  reported_at INTEGER,
  acted INTEGER NOT NULL,
  -- By how many seconds its clock is ahead of the store's, as it last said.
  clock_off INTEGER
);

-- What it is to have, and what it says about that.
CREATE TABLE node_secret (
  node_id INTEGER NOT NULL,
  secret_id INTEGER NOT NULL,
  -- 0 while nothing was decided yet.
  version INTEGER NOT NULL,
  -- The node's generation at which it was told to have this version.
  generation INTEGER NOT NULL,
  -- The rollout that decided it, 0 for none.
  rollout_id INTEGER NOT NULL,
  -- A rehearsal of a fault, '' for none.
  fault TEXT NOT NULL,
  desired_at INTEGER,
  -- Of this version: when the manifest that names it went out, its certificate or key went out, it was said to be installed, to have failed.
  told_at INTEGER,
  fetched_at INTEGER,
  installed_at INTEGER,
  failed_at INTEGER,
  -- What the agent said last: how far it is, with which version and leaf, after how many tries, in its words.
  state TEXT NOT NULL,
  has INTEGER NOT NULL,
  leaf BLOB,
  attempts INTEGER NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (node_id, secret_id)
);
CREATE INDEX node_secret_by_version ON node_secret (secret_id, version, node_id);

-- Which nodes stand behind a target.
CREATE TABLE target_node (
  target_id INTEGER NOT NULL,
  node_id INTEGER NOT NULL,
  PRIMARY KEY (target_id, node_id)
);
CREATE INDEX target_node_by_node ON target_node (node_id, target_id);

-- The right to join once; the token itself is nowhere.
CREATE TABLE join_token (
  id INTEGER PRIMARY KEY,
  node_id INTEGER NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  -- When it was used, or taken back; and by which public key (SHA-256), which may ask again for an answer that was lost.
  ended_at INTEGER,
  key BLOB
);
CREATE INDEX join_token_by_node ON join_token (node_id, id);

-- Certificates that agents live on. An agent is who the row of its certificate says, and nobody without one.
CREATE TABLE node_certificate (
  -- SHA-256 of the certificate.
  fingerprint BLOB PRIMARY KEY,
  node_id INTEGER NOT NULL,
  -- SHA-256 of its public key.
  key BLOB NOT NULL,
  serial TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  -- When it was first presented: from then on those before it are superseded.
  used_at INTEGER,
  ended_at INTEGER,
  -- superseded, revoked, '' while it is good
  ended TEXT NOT NULL
);
CREATE INDEX node_certificate_by_node ON node_certificate (node_id, not_after);

-- What signs for agents: manifests, and the certificates that they live on. Its key lies in the vault.
CREATE TABLE node_authority (
  -- manifest-key, agent-ca-key
  purpose TEXT PRIMARY KEY,
  -- Its held key.
  held INTEGER NOT NULL,
  spki BLOB NOT NULL,
  -- DER; empty for a key alone.
  certificate BLOB NOT NULL
);

-- The authorities by which agents believe the servers of this store: each server has its own.
CREATE TABLE server_root (
  fingerprint BLOB PRIMARY KEY,
  pem TEXT NOT NULL,
  seen_at INTEGER NOT NULL
);
