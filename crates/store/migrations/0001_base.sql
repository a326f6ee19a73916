-- One row: which database this is, where its journal ends, and the latest time that was believed.
CREATE TABLE store_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    high_water INTEGER NOT NULL
);

-- What happened, each entry bound to the one before by its hash.
CREATE TABLE journal (
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor_issuer TEXT NOT NULL,
    actor_subject TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (epoch, seq)
);
CREATE INDEX journal_subject ON journal (subject, epoch, seq);

-- Who runs a loop, until when; fence grows with every holder.
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    held_until INTEGER NOT NULL,
    fence INTEGER NOT NULL
) WITHOUT ROWID;

-- When a loop has to look at a subject. due_at NULL: not until somebody wakes it.
CREATE TABLE timer (
    loop TEXT NOT NULL,
    subject INTEGER NOT NULL,
    due_at INTEGER,
    wakes INTEGER NOT NULL,
    -- How often it had been woken when it was last claimed.
    claimed_wakes INTEGER NOT NULL DEFAULT 0,
    claimed_until INTEGER NOT NULL,
    claimed_by TEXT NOT NULL,
    fence INTEGER NOT NULL,
    PRIMARY KEY (loop, subject)
) WITHOUT ROWID;
CREATE INDEX timer_due ON timer (loop, due_at, subject);

-- The last id given out of each kind.
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    n INTEGER NOT NULL
) WITHOUT ROWID;
