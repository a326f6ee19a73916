//! Why a command did not do what it was asked, and the exit code that says so to scripts.

use std::fmt::Write as _;
use std::process::ExitCode;

use api::v1::Problem;
use pki::text::escape;

/// How a command ended. `docs/exit-codes.md` is the promise; these numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It was done, and nothing is due.
    Ok = 0,
    /// Something is due or broken, or the server refused.
    Due = 1,
    /// The call itself was wrong.
    Usage = 2,
    /// `release scan` alone: the build carries certificates and will miss a deadline.
    Late = 3,
    /// The server did not answer.
    Unreachable = 4,
}

impl Exit {
    /// [`Exit::Due`] where `due`, else [`Exit::Ok`].
    pub fn due(due: bool) -> Exit {
        if due { Exit::Due } else { Exit::Ok }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call itself is wrong; several lines where there are several problems.
    #[error("{0}")]
    Usage(String),
    /// The server understood, and does not do it.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
    /// The server wants a token, and the call had none.
    #[error(
        "refused: this needs a token, and none was named [unauthenticated]\nnext: name one: --token-file F, PERENNIAL_TOKEN, or --data DIR beside the server"
    )]
    NoToken,
    /// There was no usable answer.
    #[error("{0}")]
    Unreachable(String),
    /// What was found could not be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// The exit code. Who stops reading (`| head`) has seen enough, which is no failure.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Usage(_) => Exit::Usage,
            Error::Refused(_) | Error::NoToken => Exit::Due,
            Error::Unreachable(_) => Exit::Unreachable,
            Error::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
            Error::Output(_) => Exit::Due,
        }
    }

    /// Whether there is nobody left to tell.
    pub fn is_silent(&self) -> bool {
        matches!(self, Error::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The stable code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused(problem) => Some(&problem.code),
            Error::NoToken => Some("unauthenticated"),
            _ => None,
        }
    }

    /// Shorthand for a wrong call.
    pub(crate) fn usage(text: impl Into<String>) -> Error {
        Error::Usage(text.into())
    }
}

/// A problem (RFC 9457) as sentences: what, where, what to do next.
fn refusal(problem: &Problem) -> String {
    // Several problems are mostly the detail, cut apart; saying them twice helps nobody.
    let mut text = match problem.problems.len() {
        2.. if problem.detail == problem.problems.join("; ") => format!("refused [{}]", escape(&problem.code)),
        _ => format!("refused: {} [{}]", escape(&problem.detail), escape(&problem.code)),
    };
    for each in &problem.problems {
        if *each != problem.detail {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  - {}", escape(each));
        }
    }
    if let Some(next) = next_step(problem) {
        let _ = write!(text, "\nnext: {next}");
    }
    text
}

/// What only this side knows: by which option or command the caller can go on.
fn next_step(problem: &Problem) -> Option<&'static str> {
    match (problem.status, problem.code.as_str()) {
        (401, _) => Some(
            "the token that was sent is not valid (any more): name another by --token-file F or PERENNIAL_TOKEN, or use --data DIR beside the server",
        ),
        (403, _) => Some("use the token of somebody who may do this; `perennial token list` (admin) shows them"),
        (_, "sealed") => Some("open the store with `perennial unseal`, then try again"),
        (_, "change-not-accepted") => Some("if these changes are meant, add --accept-change --reason \"…\""),
        (_, "plan-changed") => Some("look at the changes again with --dry-run and give the new hash to --plan"),
        (429, _) => Some("wait a little, then try again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str, detail: &str, problems: &[&str]) -> Error {
        Error::Refused(Box::new(Problem {
            kind: "about:blank".into(),
            title: "t".into(),
            status,
            code: code.into(),
            detail: detail.into(),
            problems: problems.iter().map(|p| (*p).to_owned()).collect(),
        }))
    }

    #[test]
    fn problems_are_sentences_with_a_next_step() {
        let check = |error: Error, expected: &str| assert_eq!(error.to_string(), expected);
        check(problem(404, "not-found", "there is no secret x", &["there is no secret x"]), "refused: there is no secret x [not-found]");
        check(
            problem(422, "bad-certificate", "2 problems", &["the key is another's", "an intermediate is missing"]),
            "refused: 2 problems [bad-certificate]\n  - the key is another's\n  - an intermediate is missing",
        );
        check(problem(422, "bad-certificate", "one; two", &["one", "two"]), "refused [bad-certificate]\n  - one\n  - two");
        check(
            problem(503, "sealed", "it needs the key", &[]),
            "refused: it needs the key [sealed]\nnext: open the store with `perennial unseal`, then try again",
        );
        check(problem(400, "x", "\u{1b}[31m\u{202e}", &[]), "refused: \\u{1b}[31m\\u{202e} [x]");
    }

    #[test]
    fn every_end_has_its_number() {
        let check = |error: Error, expected| assert_eq!(error.exit() as u8, expected);
        check(Error::usage("x"), 2);
        check(problem(422, "x", "x", &[]), 1);
        check(Error::Unreachable("x".into()), 4);
        check(Error::Output(std::io::Error::from(std::io::ErrorKind::StorageFull)), 1);
        check(Error::Output(std::io::Error::from(std::io::ErrorKind::BrokenPipe)), 0);
    }
}
