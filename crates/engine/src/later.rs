//! One subject that cannot be gone through holds up no other.

use crate::{Engine, Result, Tick, rules};
use domain::Span;
use store::timer::{self, Claim};

/// When a subject is gone through again of which a row could not be read, or made no sense.
const AGAIN: Span = Span::minutes(10);

impl Engine {
    /// What came of one subject of a loop. What went wrong with it alone is logged, and it is gone through again later.
    ///
    /// # Errors
    /// What concerns the database as a whole: then nothing else could be done either.
    pub(crate) fn left_for_later(&self, of: &str, claim: &Claim, done: Result<()>, tick: &Tick) -> Result<()> {
        match done {
            Err(error) if !error.is_of_the_database() => {
                tracing::error!(r#loop = of, subject = claim.subject, %error, "left for later, the others go on");
                self.store.write(&rules(), tick.now, |tx| timer::done(tx, of, claim, Some(tick.now + AGAIN)))?;
                Ok(())
            }
            other => other,
        }
    }
}
