//! Reads the journal from its first entry to its head and tells what does not fit.

use super::{EPOCH_BEGUN, Fields, GENESIS, Head, hash_at, head};
use crate::{Result, Row, Tx, meta};

/// Problems told one by one; the rest is only counted.
pub const MAX_PROBLEMS: usize = 100;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries read.
    pub entries: u64,
    /// Where the journal ends by the head row; note it elsewhere.
    pub head: Head,
    /// The first [`MAX_PROBLEMS`], in the order of the journal; empty when the journal is whole.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: u64,
    /// Noted heads of a former life whose last entries a restore gave up; expected after a restore, so no problem.
    pub given_up: Vec<Head>,
}

/// One place where the journal is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The entry does not have the hash that was written with it.
    #[error("entry {seq} of epoch {epoch} was changed")]
    Changed {
        /// Epoch of the entry.
        epoch: i64,
        /// Number of the entry.
        seq: i64,
    },
    /// Entries are not there.
    #[error("entries {first} to {last} are missing in epoch {epoch}")]
    Missing {
        /// Epoch of the entry after the gap.
        epoch: i64,
        /// First number missing.
        first: i64,
        /// Last number missing.
        last: i64,
    },
    /// The entry was written after another one than the one that stands before it.
    #[error("entry {seq} of epoch {epoch} does not follow the entry before it: entries were reordered or replaced")]
    Reordered {
        /// Epoch of the entry.
        epoch: i64,
        /// Number of the entry.
        seq: i64,
    },
    /// Two lives of the store stand side by side.
    #[error("the journal forks: epoch {epoch} begins at entry {seq}, but {why}")]
    Fork {
        /// Epoch that begins.
        epoch: i64,
        /// Number of its first entry.
        seq: i64,
        /// What is wrong with the place where it begins.
        why: &'static str,
    },
    /// The last entries are not there.
    #[error("the journal ends at entry {found}, the last one written was {written}")]
    Truncated {
        /// Last number found.
        found: i64,
        /// Last number written.
        written: i64,
    },
    /// The head row is not the last entry's.
    #[error("the last entry is not the one that the head of the journal was set to")]
    Head,
    /// The journal is not the one of which the head was noted.
    #[error("entry {seq} of epoch {epoch} is not the one that was noted: the journal was rewritten, or a backup restored unsaid")]
    NotAsNoted {
        /// Epoch noted.
        epoch: i64,
        /// Number noted.
        seq: i64,
    },
}

/// Verifies the whole journal, in bounded memory, and that every head in `noted` lies on it.
///
/// # Errors
/// Whatever the database refuses; a journal that does not fit is a report, not an error.
pub fn verify(tx: &mut Tx<'_>, noted: &[Head]) -> Result<Report> {
    let store_id = meta::identity(tx)?.store_id;
    let head = head(tx)?;
    let mut walk = Walk {
        store_id,
        noted,
        seen: vec![false; noted.len()],
        at: Head { epoch: 1, seq: 0, hash: GENESIS },
        ends: Vec::new(),
        entries: 0,
        problems: Vec::new(),
        problem_count: 0,
    };
    tx.for_each(
        "SELECT epoch, seq, at, actor_issuer, actor_subject, action, subject, reason, body, prev, hash
         FROM journal ORDER BY epoch, seq",
        &[],
        |row| walk.step(&row),
    )?;
    Ok(walk.end(head))
}

struct Walk<'n> {
    store_id: String,
    noted: &'n [Head],
    seen: Vec<bool>,
    at: Head,
    /// Last entry of every finished epoch.
    ends: Vec<(i64, i64)>,
    entries: u64,
    problems: Vec<Problem>,
    problem_count: u64,
}

impl Walk<'_> {
    fn problem(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn step(&mut self, row: &Row) -> Result<()> {
        let (epoch, seq) = (row.int(0)?, row.int(1)?);
        let mut texts = [""; 6];
        for (text, column) in texts.iter_mut().zip(3..) {
            *text = row.text(column)?;
        }
        let prev = row.bytes(9)?;
        // A hash of the wrong length is a changed entry, not a reason to stop looking.
        let hash = hash_at(row, 10).unwrap_or(GENESIS);
        let fields = Fields { store_id: &self.store_id, epoch, seq, at: row.int(2)?, texts, prev };
        let whole = fields.hash() == hash;
        let (begins, follows) = (texts[2] == EPOCH_BEGUN, prev == self.at.hash);

        if epoch != self.at.epoch {
            self.ends.push((self.at.epoch, self.at.seq));
            if seq <= self.at.seq {
                self.problem(Problem::Fork { epoch, seq, why: "the epoch before goes on beside it" });
            } else if epoch != self.at.epoch + 1 || !begins {
                self.problem(Problem::Fork { epoch, seq, why: "no restore was written down there" });
            }
        }
        if seq > self.at.seq + 1 {
            self.problem(Problem::Missing { epoch, first: self.at.seq + 1, last: seq - 1 });
        } else if !follows {
            self.problem(Problem::Reordered { epoch, seq });
        }
        if !whole {
            self.problem(Problem::Changed { epoch, seq });
        }
        self.at = Head { epoch, seq, hash };
        self.entries += 1;
        for (noted, seen) in self.noted.iter().zip(&mut self.seen) {
            *seen |= *noted == self.at;
        }
        Ok(())
    }

    fn end(mut self, head: Head) -> Report {
        if self.at.seq < head.seq {
            self.problem(Problem::Truncated { found: self.at.seq, written: head.seq });
        } else if self.at.seq != head.seq || self.at.hash != head.hash || (self.entries > 0 && self.at.epoch != head.epoch) {
            self.problem(Problem::Head);
        }
        let mut given_up = Vec::new();
        for (noted, seen) in self.noted.iter().zip(std::mem::take(&mut self.seen)) {
            let end = self.ends.iter().find(|(epoch, _)| *epoch == noted.epoch);
            if seen || (noted.seq == 0 && noted.hash == GENESIS) {
                continue;
            }
            // The restore that ended the epoch says that what came after its last entry here was given up.
            match end {
                Some((_, last)) if noted.seq > *last => given_up.push(noted.clone()),
                _ => self.problem(Problem::NotAsNoted { epoch: noted.epoch, seq: noted.seq }),
            }
        }
        Report { entries: self.entries, head, problems: self.problems, problem_count: self.problem_count, given_up }
    }
}
