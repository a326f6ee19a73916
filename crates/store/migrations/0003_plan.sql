-- What is planned: calendars and trains, releases and what they carry, the forecast, and how production is divided up.

-- When nothing ships. Texts as the inventory file writes them (JSON); what they mean is the rules' business.
CREATE TABLE calendar (
  name TEXT PRIMARY KEY,
  zone TEXT NOT NULL,
  freezes TEXT NOT NULL,
  retired_at INTEGER
);
-- When releases leave.
CREATE TABLE train (
  name TEXT PRIMARY KEY,
  calendar TEXT NOT NULL,
  start TEXT NOT NULL,
  rule TEXT NOT NULL,
  capacity INTEGER NOT NULL,
  retired_at INTEGER
);
-- How certificates of a service may be shared and when they may end (JSON).
CREATE TABLE partition_rule (
  name TEXT PRIMARY KEY,
  rule TEXT NOT NULL,
  retired_at INTEGER
);

-- A build with dates.
CREATE TABLE release (
  id INTEGER PRIMARY KEY,
  service TEXT NOT NULL,
  build TEXT NOT NULL,
  -- The train that it rides, '' for none, and its place among those that wait there.
  train TEXT NOT NULL,
  place INTEGER NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  -- A train before then leaves without it.
  earliest_at INTEGER NOT NULL,
  planned_at INTEGER NOT NULL,
  -- As it was planned first.
  first_planned_at INTEGER NOT NULL,
  built_at INTEGER,
  deployed_at INTEGER,
  -- When everything that it carries had been observed for the first time, and how long that took since it was built (seconds);
  -- no such time where it was in production already.
  observed_at INTEGER,
  lead INTEGER,
  -- When nothing is waited for any more: deployed and observed everywhere, or cancelled.
  ended_at INTEGER,
  generation INTEGER NOT NULL,
  -- As last assessed: its place in the queue, by when it must be built, and what that rests on.
  urgency INTEGER NOT NULL,
  ship_by INTEGER,
  reason TEXT NOT NULL,
  assessed_at INTEGER,
  UNIQUE (service, build)
);
CREATE INDEX release_by_train ON release (train, place, id) WHERE ended_at IS NULL;
CREATE INDEX release_by_urgency ON release (urgency, place, id) WHERE ended_at IS NULL;
CREATE INDEX release_by_queue ON release (train, urgency, place, id) WHERE ended_at IS NULL;
CREATE INDEX release_by_service ON release (service, id);
CREATE INDEX release_by_lead ON release (service, observed_at, id) WHERE lead IS NOT NULL;
CREATE INDEX release_by_deployed ON release (service, deployed_at, id) WHERE deployed_at IS NOT NULL;
CREATE TABLE release_stage (
  release_id INTEGER NOT NULL,
  region TEXT NOT NULL,
  planned_at INTEGER,
  status TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (release_id, region)
);
-- What a build carries: a stored version, an older one, an unknown certificate, or a private key in the clear.
CREATE TABLE release_item (
  id INTEGER PRIMARY KEY,
  release_id INTEGER NOT NULL,
  what TEXT NOT NULL,
  -- 0 where it is none of ours.
  secret_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  leaf BLOB,
  not_after INTEGER,
  subject TEXT NOT NULL,
  -- Where in the build; '' where a person said so.
  path TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  -- When every production target was seen serving it, or what came after it; null while one does not.
  observed_at INTEGER,
  -- Whether production had to wait for it: what was there before it was built says nothing about how long releases take.
  waited INTEGER NOT NULL,
  -- Whether its release has not ended.
  open INTEGER NOT NULL
);
CREATE INDEX release_item_by_release ON release_item (release_id, id);
CREATE INDEX release_item_open ON release_item (secret_id, release_id) WHERE open = 1 AND secret_id <> 0;

-- What the rules say about what is neither a secret nor a target, and who was told.
CREATE TABLE concern (
  subject TEXT NOT NULL,
  key TEXT NOT NULL,
  code TEXT NOT NULL,
  level TEXT NOT NULL,
  teams TEXT NOT NULL,
  until INTEGER,
  detail TEXT NOT NULL,
  next_step TEXT NOT NULL,
  since INTEGER NOT NULL,
  told_at INTEGER,
  -- The teams that heard of this episode (JSON).
  told TEXT NOT NULL,
  -- When it was gone; kept for a while, so that what flaps is not news each time.
  gone_at INTEGER,
  PRIMARY KEY (subject, key)
);
CREATE INDEX concern_standing ON concern (subject, key) WHERE gone_at IS NULL;
CREATE INDEX concern_by_age ON concern (gone_at) WHERE gone_at IS NOT NULL;

-- When a secret breaks in a region if all goes as planned; what was said last, so that an earlier break is news.
CREATE TABLE forecast (
  secret_id INTEGER NOT NULL,
  region TEXT NOT NULL,
  -- Null where it does not as far as anybody can see.
  breaks_at INTEGER,
  about BLOB,
  position INTEGER,
  -- The planned release that the answer rests on, 0 for none.
  release_id INTEGER NOT NULL,
  -- Until when the worst target there was observed to serve, and whether one was never observed.
  served_until INTEGER,
  unknown INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  -- A break that entered the forecast: what was said before (null: none), and what would have saved it, in words.
  breach INTEGER NOT NULL,
  instead_of INTEGER,
  rescue TEXT NOT NULL,
  -- When time alone changes the answer.
  next_at INTEGER,
  assessed_at INTEGER NOT NULL,
  PRIMARY KEY (secret_id, region)
);
-- The first break of each region without a look at all of a secret's targets, and all that a forecast of everything needs without a
-- look at their rows.
CREATE INDEX target_by_region ON target (secret_id, region, served_kind, served_until, id, service, current, required, shows, ends_about,
  ends_position, ends_lifetime, production, state, retired_at)
  WHERE production = 1 AND state IN ('active', 'drained') AND retired_at IS NULL;

-- The paths that targets serve, once each: leaf, its key, the issuing intermediate and the root.
CREATE TABLE path (
  id INTEGER PRIMARY KEY,
  -- SHA-256 over the columns below.
  hash BLOB NOT NULL UNIQUE,
  leaf BLOB NOT NULL,
  leaf_key BLOB NOT NULL,
  -- Certificates above the leaf; null where none is known.
  intermediate BLOB,
  root BLOB,
  -- Their names, for people.
  leaf_name TEXT NOT NULL,
  issuer_name TEXT NOT NULL,
  root_name TEXT NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL
);
-- Which of them a target may answer with.
CREATE TABLE target_path (
  target_id INTEGER NOT NULL,
  path_id INTEGER NOT NULL,
  PRIMARY KEY (target_id, path_id)
) WITHOUT ROWID;
CREATE INDEX target_path_by_path ON target_path (path_id, target_id);
-- Production of a service, and all of it, in few columns; and whose it is where a target names no service.
CREATE INDEX target_by_place ON target (service, region, stamp, id, secret_id, served_kind, served_until)
  WHERE production = 1 AND state IN ('active', 'drained') AND retired_at IS NULL;
CREATE INDEX secret_by_service ON secret (service, id) WHERE service <> '';

-- What was decided and is to be done; issuance acts on it by reading it back.
CREATE TABLE intent (
  id INTEGER PRIMARY KEY,
  what TEXT NOT NULL,
  subject TEXT NOT NULL,
  content TEXT NOT NULL,
  hash BLOB NOT NULL,
  approvals INTEGER NOT NULL,
  approved_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  -- open, done, superseded
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  done_at INTEGER
);
CREATE UNIQUE INDEX intent_open ON intent (what, subject) WHERE state = 'open';
