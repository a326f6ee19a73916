-- What we remember. Times are Unix seconds (UTC), flags are 0 or 1, lists are JSON text; '' means none where a key must not be null.

-- Inventory: who owns, what it is for, where.
CREATE TABLE team (
  name TEXT PRIMARY KEY,
  contacts TEXT NOT NULL,
  escalation TEXT NOT NULL,
  retired_at INTEGER
);
CREATE TABLE service (
  -- What timers know it by.
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  team TEXT NOT NULL,
  calendar TEXT NOT NULL,
  train TEXT NOT NULL,
  partition TEXT NOT NULL,
  retired_at INTEGER
);
CREATE TABLE region (
  name TEXT PRIMARY KEY,
  -- Regions that it cannot work without (JSON).
  needs TEXT NOT NULL,
  retired_at INTEGER
);
CREATE TABLE stamp (
  name TEXT PRIMARY KEY,
  region TEXT NOT NULL,
  retired_at INTEGER
);
CREATE TABLE vantage (
  name TEXT PRIMARY KEY,
  required INTEGER NOT NULL,
  seen_at INTEGER,
  retired_at INTEGER
);
CREATE TABLE roots (
  name TEXT PRIMARY KEY,
  pem TEXT NOT NULL,
  retired_at INTEGER
);
CREATE TABLE policy (
  name TEXT PRIMARY KEY,
  class TEXT NOT NULL,
  notice INTEGER,
  incident INTEGER,
  every INTEGER,
  unobserved_after INTEGER,
  retired_at INTEGER
);
-- What the inventory file says about itself.
CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE secret (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  management TEXT NOT NULL,
  renewal TEXT NOT NULL,
  release_bound INTEGER NOT NULL,
  team TEXT NOT NULL,
  service TEXT NOT NULL,
  policy TEXT NOT NULL,
  override_notice INTEGER,
  override_incident INTEGER,
  override_reason TEXT NOT NULL,
  names TEXT NOT NULL,
  issuers TEXT NOT NULL,
  -- What its renewal depends on, as declared.
  validation TEXT NOT NULL,
  dns_provider TEXT NOT NULL,
  expires_at INTEGER,
  declared_at INTEGER NOT NULL,
  declared INTEGER NOT NULL,
  attested_at INTEGER,
  completed_unaided INTEGER NOT NULL,
  newest_version INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  retired_at INTEGER,
  -- Who answers for it, as last derived from team, service and default owner.
  owner TEXT NOT NULL,
  -- The standing, as last assessed.
  served_kind INTEGER NOT NULL,
  served_until INTEGER,
  margin_at INTEGER NOT NULL,
  target_count INTEGER NOT NULL,
  open_findings INTEGER NOT NULL,
  assessed_at INTEGER,
  -- Required combinations of its targets, and how many of them show what they should.
  current INTEGER NOT NULL DEFAULT 0,
  required INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX secret_by_margin ON secret (margin_at, id);
CREATE INDEX secret_release_bound ON secret (service, id) WHERE release_bound = 1 AND retired_at IS NULL;
CREATE INDEX secret_by_owner ON secret (owner, margin_at, id);

CREATE TABLE version (
  id INTEGER PRIMARY KEY,
  secret_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  expires_at INTEGER,
  UNIQUE (secret_id, number)
);

-- One certificate of a version. Lists and pages read this table; it cannot hold a key.
CREATE TABLE instance (
  id INTEGER PRIMARY KEY,
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  scope TEXT NOT NULL,
  key_type TEXT NOT NULL,
  leaf BLOB NOT NULL,
  key_fingerprint BLOB NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  subject TEXT NOT NULL,
  issuer TEXT NOT NULL,
  chain BLOB NOT NULL,
  UNIQUE (secret_id, version, scope, key_type)
);
-- Fingerprints are random, so each new row touches another page of these two: eight bytes keep them small enough to stay in memory.
CREATE INDEX instance_by_leaf ON instance (substr(leaf, 1, 8));
CREATE INDEX instance_by_key ON instance (substr(key_fingerprint, 1, 8));
CREATE INDEX instance_by_end ON instance (not_after, id);

-- Private material, sealed. Only the engine reads it, and only to use it.
CREATE TABLE sealed (
  instance_id INTEGER PRIMARY KEY,
  purpose TEXT NOT NULL,
  kek_id TEXT NOT NULL,
  wrapped BLOB NOT NULL,
  ciphertext BLOB NOT NULL
);
CREATE INDEX sealed_by_kek ON sealed (kek_id, instance_id);
CREATE TABLE kek (
  id TEXT PRIMARY KEY,
  record TEXT NOT NULL,
  current INTEGER NOT NULL,
  created_at INTEGER NOT NULL
);

-- While a rotation is under way: the former KEKs, wrapped by the new one, so that the new way in opens everything; never the other
-- way round.
CREATE TABLE kek_bridge (
  id TEXT NOT NULL,
  opened_by TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (id, opened_by)
);

-- Keys of contacts (signing secrets, routing keys), sealed a second time under a key that lies with one server, so that a sealed
-- store still tells. A server keeps its own copies and forgets those that no contact names.
CREATE TABLE delivery_kek (
  id TEXT PRIMARY KEY,
  record TEXT NOT NULL,
  used_at INTEGER NOT NULL
);
CREATE TABLE delivery_key (
  kek_id TEXT NOT NULL,
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  instance_id INTEGER NOT NULL,
  wrapped BLOB NOT NULL,
  ciphertext BLOB NOT NULL,
  PRIMARY KEY (kek_id, secret_id)
);

-- How many instances of the newest versions end per region and ISO week; kept in the transaction that changes them.
CREATE TABLE expiry_rollup (
  region TEXT NOT NULL,
  week INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (region, week)
);

CREATE TABLE target (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  secret_id INTEGER NOT NULL,
  kind TEXT NOT NULL,
  protocol TEXT NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  server_name TEXT NOT NULL,
  region TEXT NOT NULL,
  stamp TEXT NOT NULL,
  service TEXT NOT NULL,
  team TEXT NOT NULL,
  state TEXT NOT NULL,
  drained_until INTEGER,
  production INTEGER NOT NULL,
  backends TEXT NOT NULL,
  roots TEXT NOT NULL,
  vantages TEXT NOT NULL,
  optional_vantages TEXT NOT NULL,
  offers TEXT NOT NULL,
  names_without_sni INTEGER NOT NULL,
  key_types TEXT NOT NULL,
  -- Since when what is asked for later than the target was declared is asked for (JSON).
  required_since TEXT NOT NULL,
  check_name INTEGER NOT NULL,
  baseline TEXT NOT NULL,
  baseline_until INTEGER,
  declared_at INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  retired_at INTEGER,
  -- Until when what was retired is dialled, and what it answered with then (JSON).
  retired_until INTEGER,
  retired_leaves TEXT NOT NULL,
  -- The standing, as last assessed.
  served_kind INTEGER NOT NULL,
  served_until INTEGER,
  worst_about BLOB,
  worst_position INTEGER,
  worst_until INTEGER,
  worst_notice INTEGER,
  worst_incident INTEGER,
  worst_lifetime INTEGER,
  -- The certificate whose end served_until is, where it is one's.
  ends_about BLOB,
  ends_position INTEGER,
  ends_lifetime INTEGER,
  margin_at INTEGER NOT NULL,
  lifetime INTEGER,
  current INTEGER NOT NULL,
  required INTEGER NOT NULL,
  -- The oldest version that it shows anywhere, 0 for none.
  shows INTEGER NOT NULL DEFAULT 0,
  level TEXT NOT NULL,
  observed_at INTEGER,
  claimed_at INTEGER
);
CREATE INDEX target_by_secret ON target (secret_id, margin_at, id);
CREATE INDEX target_by_margin ON target (margin_at, id);
-- A secret may have 100,000 targets, and one that changes must not cost a look at all of them: each part of what they add up to is
-- the first entry of an index, or a count that is kept in the transaction that changes it.
CREATE INDEX target_by_served ON target (secret_id, served_kind, served_until, id)
  WHERE production = 1 AND state IN ('active', 'drained') AND retired_at IS NULL;
CREATE INDEX target_by_worst ON target
  (secret_id, (CASE WHEN production = 1 AND state IN ('active', 'drained') THEN 0 ELSE 1 END), (worst_until - worst_incident), id)
  WHERE retired_at IS NULL AND worst_until IS NOT NULL;
CREATE INDEX target_by_shows ON target (secret_id, shows, id)
  WHERE production = 1 AND state IN ('active', 'drained') AND retired_at IS NULL;
CREATE INDEX target_behind ON target (secret_id, id) WHERE retired_at IS NULL AND (required = 0 OR current <> required);
CREATE TABLE target_tally (
  secret_id INTEGER PRIMARY KEY,
  n INTEGER NOT NULL,
  production INTEGER NOT NULL,
  current INTEGER NOT NULL,
  required INTEGER NOT NULL
);

-- To what the name of a target resolves, for each vantage.
CREATE TABLE address (
  target_id INTEGER NOT NULL,
  vantage TEXT NOT NULL,
  address TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  left_at INTEGER,
  PRIMARY KEY (target_id, vantage, address)
);

-- The latest observation of each combination.
CREATE TABLE observation (
  id INTEGER PRIMARY KEY,
  target_id INTEGER NOT NULL,
  address TEXT NOT NULL,
  vantage TEXT NOT NULL,
  server_name TEXT NOT NULL,
  offer TEXT NOT NULL,
  method TEXT NOT NULL,
  last_at INTEGER NOT NULL,
  good_at INTEGER,
  good_chain BLOB,
  good_leaf BLOB,
  -- Other chains that were seen before it: a line each, when, chain, leaf.
  others TEXT NOT NULL,
  streak INTEGER NOT NULL,
  streak_since INTEGER NOT NULL,
  failing_since INTEGER,
  failures INTEGER NOT NULL,
  blame TEXT NOT NULL,
  retry INTEGER NOT NULL,
  detail TEXT NOT NULL,
  protocol TEXT NOT NULL,
  cipher TEXT NOT NULL,
  expires_at INTEGER,
  UNIQUE (target_id, address, vantage, server_name, offer, method)
);
-- Every change of them.
CREATE TABLE observation_change (
  id INTEGER PRIMARY KEY,
  observation_id INTEGER NOT NULL,
  target_id INTEGER NOT NULL,
  at INTEGER NOT NULL,
  change TEXT NOT NULL,
  chain BLOB,
  leaf BLOB,
  detail TEXT NOT NULL
);
CREATE INDEX observation_change_by_target ON observation_change (target_id, id);
CREATE INDEX observation_change_by_age ON observation_change (at, id);
-- Presented chains, once each: concatenated DER, leaf first.
CREATE TABLE chain (
  hash BLOB PRIMARY KEY,
  leaf BLOB NOT NULL,
  der BLOB NOT NULL,
  first_seen INTEGER NOT NULL,
  -- When it was last kept, to a day.
  kept_at INTEGER NOT NULL
);
-- Whether anything still names a chain.
CREATE INDEX observation_by_good_chain ON observation (good_chain);
CREATE INDEX observation_with_others ON observation (id) WHERE others <> '';
CREATE INDEX observation_change_by_chain ON observation_change (chain) WHERE chain IS NOT NULL;

-- What the rules said at the latest assessment; replaced as a whole, so it has no life of its own.
CREATE TABLE finding (
  secret_id INTEGER NOT NULL,
  target_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  code TEXT NOT NULL,
  level TEXT NOT NULL,
  subject TEXT NOT NULL,
  broken INTEGER NOT NULL,
  about BLOB,
  since INTEGER,
  until INTEGER,
  -- The end that it is about, where it is about one.
  end_position INTEGER,
  end_notice INTEGER,
  end_incident INTEGER,
  end_lifetime INTEGER,
  detail TEXT NOT NULL,
  PRIMARY KEY (secret_id, target_id, key)
);
CREATE INDEX finding_by_target ON finding (target_id);
CREATE INDEX finding_by_subject ON finding (secret_id, subject, code, level, target_id) WHERE target_id <> 0;
-- How many of a secret's targets have a finding at notice level or above, or about the end of a certificate.
CREATE TABLE finding_tally (
  secret_id INTEGER NOT NULL,
  subject TEXT NOT NULL,
  code TEXT NOT NULL,
  level TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (secret_id, subject, code, level)
);

CREATE TABLE incident (
  id INTEGER PRIMARY KEY,
  subject TEXT NOT NULL,
  code TEXT NOT NULL,
  title TEXT NOT NULL,
  state TEXT NOT NULL,
  generation INTEGER NOT NULL,
  opened_at INTEGER NOT NULL,
  acknowledged_at INTEGER,
  acknowledged_by TEXT NOT NULL,
  quiet_until INTEGER,
  mitigated_at INTEGER,
  ended_at INTEGER,
  told_at INTEGER NOT NULL,
  escalated INTEGER NOT NULL,
  page INTEGER NOT NULL,
  broken INTEGER NOT NULL,
  until INTEGER,
  open_lines INTEGER NOT NULL,
  proven_lines INTEGER NOT NULL,
  retired_lines INTEGER NOT NULL,
  teams TEXT NOT NULL,
  services TEXT NOT NULL,
  repeats INTEGER,
  root_cause TEXT NOT NULL,
  own_cause TEXT NOT NULL,
  review TEXT NOT NULL,
  reviewed_at INTEGER,
  changed INTEGER NOT NULL,
  -- Teams that acknowledged, each with the end of its quiet.
  answered TEXT NOT NULL
);
CREATE INDEX incident_by_subject ON incident (subject, id);
CREATE INDEX incident_by_state ON incident (state, until, id);
CREATE TABLE incident_line (
  id INTEGER PRIMARY KEY,
  incident_id INTEGER NOT NULL,
  secret_id INTEGER NOT NULL,
  target_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  code TEXT NOT NULL,
  about BLOB,
  until INTEGER,
  broken INTEGER NOT NULL,
  detail TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  closed_at INTEGER,
  how TEXT NOT NULL,
  evidence TEXT NOT NULL
);
CREATE INDEX incident_line_by_incident ON incident_line (incident_id, id);
CREATE INDEX incident_line_by_target ON incident_line (target_id, closed_at);
CREATE INDEX incident_line_by_age ON incident_line (closed_at, id);
CREATE INDEX incident_line_by_secret ON incident_line (secret_id, closed_at, target_id);
CREATE INDEX incident_line_by_until ON incident_line (incident_id, until) WHERE closed_at IS NULL;
CREATE INDEX incident_line_broken ON incident_line (incident_id) WHERE closed_at IS NULL AND broken = 1;
-- How many lines of an incident are open (how is '') or ended in which way.
CREATE TABLE incident_line_tally (
  incident_id INTEGER NOT NULL,
  how TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (incident_id, how)
);
CREATE TABLE corrective_action (
  id INTEGER PRIMARY KEY,
  incident_id INTEGER NOT NULL,
  what TEXT NOT NULL,
  owner TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  done_at INTEGER,
  told_at INTEGER
);
CREATE INDEX corrective_action_by_due ON corrective_action (done_at, due_at);

-- What the owner was told: each key once (ladder) or weekly while it stands (findings).
CREATE TABLE notice (
  id INTEGER PRIMARY KEY,
  secret_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  code TEXT NOT NULL,
  rung INTEGER,
  -- Whether it was told before, and has stood ever since.
  again INTEGER NOT NULL,
  team TEXT NOT NULL,
  at INTEGER NOT NULL,
  until INTEGER,
  detail TEXT NOT NULL,
  -- When what it is about was gone.
  ended_at INTEGER
);
CREATE INDEX notice_by_secret ON notice (secret_id, key, id);
CREATE INDEX notice_by_end ON notice (ended_at, id);

-- What still has to be told. One row per message and contact; rows of one subject and contact are sent in order.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY,
  line TEXT NOT NULL,
  team TEXT NOT NULL,
  channel TEXT NOT NULL,
  message TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  state TEXT NOT NULL,
  -- 0 for what is about none.
  incident_id INTEGER NOT NULL,
  done_at INTEGER
);
CREATE INDEX outbox_by_due ON outbox (state, due_at, id);
CREATE INDEX outbox_by_age ON outbox (done_at, id);
CREATE INDEX outbox_by_incident ON outbox (incident_id, id);
CREATE INDEX outbox_by_line ON outbox (line, state, id);
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY,
  outbox_id INTEGER NOT NULL,
  at INTEGER NOT NULL,
  ok INTEGER NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX delivery_by_outbox ON delivery (outbox_id, id);

CREATE TABLE sweep (
  id INTEGER PRIMARY KEY,
  started_at INTEGER NOT NULL,
  finished_at INTEGER,
  cursor INTEGER NOT NULL,
  secrets INTEGER NOT NULL,
  instances INTEGER NOT NULL,
  targets INTEGER NOT NULL,
  missed INTEGER NOT NULL,
  report TEXT NOT NULL
);

CREATE TABLE token (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  role TEXT NOT NULL,
  teams TEXT NOT NULL,
  vantage TEXT NOT NULL,
  services TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  used_at INTEGER
);
