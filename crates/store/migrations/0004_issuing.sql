-- Who signs: issuers, what they are asked for, and what they answered.

CREATE TABLE issuer (
  -- What timers know it by.
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  -- internal, acme
  kind TEXT NOT NULL,
  -- The region that prefers it, '' for none.
  region TEXT NOT NULL,
  fallback TEXT NOT NULL,
  -- Orders per window of so many seconds; both 0 for no limit.
  orders INTEGER NOT NULL,
  per INTEGER NOT NULL,
  -- What only its kind needs, as the inventory file writes it (JSON).
  settings TEXT NOT NULL,
  retired_at INTEGER
);
-- How an issuer has answered lately. Orders over the budget wait for the oldest one in the window.
CREATE TABLE issuer_state (
  issuer TEXT PRIMARY KEY,
  failures INTEGER NOT NULL,
  failing_since INTEGER,
  -- Nothing is asked of it before then (Retry-After, backoff).
  not_before INTEGER,
  detail TEXT NOT NULL
);

-- How a secret is issued, where the inventory says so.
CREATE TABLE issuance (
  secret_id INTEGER PRIMARY KEY,
  -- Issuers in the order of preference (JSON).
  issued_by TEXT NOT NULL,
  -- server, client, both, spiffe
  profile TEXT NOT NULL,
  -- node, store
  keys TEXT NOT NULL,
  key_type TEXT NOT NULL,
  -- Asked of the issuer, in seconds; null for what the issuer gives.
  lifetime INTEGER,
  spiffe_id TEXT NOT NULL,
  -- The maintenance window (JSON), '' for none.
  maintenance TEXT NOT NULL,
  rollout_policy TEXT NOT NULL
);

-- Keys that belong to no certificate of a secret: of authorities, ACME accounts, requests by hand, manifests. Their number is taken from
-- the one sequence of instances, and their sealed bytes lie beside all others, so that a rotation moves them too.
CREATE TABLE held_key (
  id INTEGER PRIMARY KEY,
  purpose TEXT NOT NULL,
  -- Whose it is: bound into the seal.
  subject INTEGER NOT NULL,
  -- SHA-256 of its public half; the public half itself (SubjectPublicKeyInfo).
  fingerprint BLOB NOT NULL,
  spki BLOB NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX held_key_by_subject ON held_key (purpose, subject, id);

-- The certificates of an internal CA.
CREATE TABLE authority (
  id INTEGER PRIMARY KEY,
  issuer TEXT NOT NULL,
  -- root, issuing
  role TEXT NOT NULL,
  -- A root is offline or kept; an issuing one is requested (its request waits for the root), current or former.
  state TEXT NOT NULL,
  subject TEXT NOT NULL,
  -- DER, and its SHA-256; empty while it is requested.
  certificate BLOB NOT NULL,
  fingerprint BLOB NOT NULL,
  -- SHA-256 of its public key.
  key BLOB NOT NULL,
  -- Its held key, 0 where it was put away.
  held INTEGER NOT NULL,
  -- The request (PKCS#10, DER), where one waits.
  csr BLOB NOT NULL,
  -- The root above it, 0 for a root.
  root INTEGER NOT NULL,
  -- Name constraints (JSON): DNS subtrees.
  permitted TEXT NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  -- The number of its next CRL.
  crl_number INTEGER NOT NULL
);
CREATE INDEX authority_by_issuer ON authority (issuer, role, state, id);

-- Every certificate that was to be signed. What is intended is finished with the same bytes, or ended with a reason.
CREATE TABLE issued (
  id INTEGER PRIMARY KEY,
  authority_id INTEGER NOT NULL,
  serial BLOB NOT NULL,
  -- For what: a secret's version and scope, 0 for none.
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  scope TEXT NOT NULL,
  -- SHA-256 of the public key.
  key BLOB NOT NULL,
  -- SHA-256 of what was to be signed.
  tbs_hash BLOB NOT NULL,
  -- While it is intended what was to be signed, then the certificate (DER).
  der BLOB NOT NULL,
  -- intended, signed, ended
  state TEXT NOT NULL,
  not_after INTEGER NOT NULL,
  -- Whether it can be revoked: what lives for a week or less carries no revocation data.
  revocable INTEGER NOT NULL,
  intended_at INTEGER NOT NULL,
  done_at INTEGER,
  revoked_at INTEGER,
  -- RFC 5280 §5.3.1, or why it was ended.
  reason TEXT NOT NULL
);
CREATE UNIQUE INDEX issued_by_serial ON issued (authority_id, serial);
CREATE INDEX issued_for ON issued (secret_id, version, scope, key) WHERE secret_id <> 0;
CREATE INDEX issued_intended ON issued (intended_at, id) WHERE state = 'intended';
CREATE INDEX issued_compromised ON issued (key) WHERE reason = 'key-compromise';
CREATE INDEX issued_revoked ON issued (authority_id, id) WHERE revoked_at IS NOT NULL;

-- The latest list of what an authority revoked.
CREATE TABLE crl (
  authority_id INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  der BLOB NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL
);

-- One request to an issuer.
CREATE TABLE signing_order (
  id INTEGER PRIMARY KEY,
  issuer TEXT NOT NULL,
  secret_id INTEGER NOT NULL,
  -- The version that it is for: announced, or the one that its answer becomes (0).
  version INTEGER NOT NULL,
  scope TEXT NOT NULL,
  intent_id INTEGER NOT NULL,
  -- open, issued, failed, ended
  state TEXT NOT NULL,
  csr BLOB NOT NULL,
  -- SHA-256 of the public key, and its held key, 0 where it lies on a node.
  key BLOB NOT NULL,
  held INTEGER NOT NULL,
  names TEXT NOT NULL,
  -- The certificate that it takes over from (RFC 9773 §5), as the issuer knows it; '' for none.
  replaces TEXT NOT NULL,
  -- Where the issuer keeps it (RFC 8555 §7.1.3), '' before it was placed.
  url TEXT NOT NULL,
  chain BLOB NOT NULL,
  attempts INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  placed_at INTEGER,
  tried_at INTEGER,
  done_at INTEGER,
  detail TEXT NOT NULL,
  -- What each name failed of (JSON).
  problems TEXT NOT NULL
);
CREATE INDEX signing_order_by_secret ON signing_order (secret_id, id);
CREATE INDEX signing_order_by_issuer ON signing_order (issuer, placed_at, id) WHERE placed_at IS NOT NULL;
CREATE INDEX signing_order_open ON signing_order (secret_id, version, scope, key) WHERE state = 'open';

-- Requests that a person carries to a CA. A secret may have several; each keeps its key until it is answered or dropped.
CREATE TABLE hand_request (
  id INTEGER PRIMARY KEY,
  secret_id INTEGER NOT NULL,
  scope TEXT NOT NULL,
  names TEXT NOT NULL,
  csr BLOB NOT NULL,
  key BLOB NOT NULL,
  held INTEGER NOT NULL,
  -- open, answered, dropped
  state TEXT NOT NULL,
  version INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  done_at INTEGER
);
CREATE INDEX hand_request_by_secret ON hand_request (secret_id, id);

-- How the renewal of a secret stands.
CREATE TABLE renewal (
  secret_id INTEGER PRIMARY KEY,
  -- The newest version when this was written; another one begins anew.
  version INTEGER NOT NULL,
  due_at INTEGER,
  -- The intent under way, 0 for none.
  intent_id INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  failing_since INTEGER,
  -- Whether trying again is of no use before somebody acts.
  terminal INTEGER NOT NULL,
  detail TEXT NOT NULL,
  -- What the issuer suggests (RFC 9773): when, why, and when to ask again.
  ari_from INTEGER,
  ari_until INTEGER,
  ari_why TEXT NOT NULL,
  ari_again INTEGER
);

-- When a certificate of a version is to end, where a plan that divides production up says so; by its intent.
CREATE TABLE planned_end (
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  -- A region, or 'all'.
  scope TEXT NOT NULL,
  not_after INTEGER NOT NULL,
  intent_id INTEGER NOT NULL,
  PRIMARY KEY (secret_id, version, scope)
);

-- Accounts at ACME servers (RFC 8555 §7.1.2): their held key, and where the server keeps them.
CREATE TABLE acme_account (
  issuer TEXT PRIMARY KEY,
  directory TEXT NOT NULL,
  held INTEGER NOT NULL,
  url TEXT NOT NULL
);
