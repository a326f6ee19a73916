//! What people were told before, and when the same is told again.
//!
//! A finding stands for an *episode*: from the assessment that first says it to the one that no longer does. Its first notice
//! belongs to the episode, and so do its reminders. When it is gone the episode ends, so that what comes back is news and not a
//! reminder of something that somebody has already put right.

use crate::{Span, Time};
use alloc::string::String;

/// A finding that stays is told again after this long.
pub const REMIND_AFTER: Span = Span::days(7);
/// What comes and goes is told no more often than this, so that a place that flaps does not drown the rest.
pub const AGAIN_AFTER: Span = Span::hours(1);

/// The latest notice with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// About what: [`crate::secret::Telling::key`].
    pub key: String,
    /// When.
    pub at: Time,
    /// Whether what it is about has stood ever since.
    pub stands: bool,
}

/// Whether something that stands is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now; `again` where it was told before and has stood ever since.
    Now {
        /// A reminder.
        again: bool,
    },
    /// Not before then.
    At(Time),
}

/// Whether what stands under `key` is to be told at `now`, where a reminder is due every `remind_after`.
pub fn due(told: &[Told], key: &str, remind_after: Span, now: Time) -> Due {
    let Some(last) = told.iter().find(|t| t.key == key) else { return Due::Now { again: false } };
    let pause = if last.stands { remind_after } else { AGAIN_AFTER };
    // A clock that was ahead has told it in what is the future now: that quiets nothing for longer than the pause itself.
    if last.at > now + pause || now >= last.at + pause { Due::Now { again: last.stands } } else { Due::At(last.at + pause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_then_reminders_and_what_comes_back_is_news() {
        let at = Time::from_unix(1_000_000);
        let told = |stands| [Told { key: "a".into(), at, stands }];
        let s = Span::seconds(1);
        for (told, now, wanted) in [
            (&[][..], at, Due::Now { again: false }),
            (&told(true)[..], at, Due::At(at + REMIND_AFTER)),
            (&told(true), at + REMIND_AFTER - s, Due::At(at + REMIND_AFTER)),
            (&told(true), at + REMIND_AFTER, Due::Now { again: true }),
            (&told(true), at + REMIND_AFTER + s, Due::Now { again: true }),
            // It went and is back: no reminder, and no escalation.
            (&told(false), at + AGAIN_AFTER - s, Due::At(at + AGAIN_AFTER)),
            (&told(false), at + AGAIN_AFTER, Due::Now { again: false }),
            (&told(false), at + REMIND_AFTER, Due::Now { again: false }),
            // Told by a clock that was a month ahead.
            (&told(true), at - Span::days(30), Due::Now { again: true }),
            (&told(false), at - Span::days(30), Due::Now { again: false }),
        ] {
            assert_eq!(due(told, "a", REMIND_AFTER, now), wanted, "{told:?} at {now}");
        }
        assert_eq!(due(&told(true), "b", REMIND_AFTER, at), Due::Now { again: false }, "another finding");
    }
}
