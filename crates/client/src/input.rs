//! What comes in from files, from standard input and from the keyboard; bounded, and wiped where it is secret.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;

/// Largest passphrase or password, in bytes.
const MAX_PASSPHRASE: usize = 4096;

/// Standard input and the terminal.
pub trait Keyboard {
    /// Whether a person sits in front of standard input.
    fn is_terminal(&self) -> bool;

    /// Asks for a line without showing it.
    ///
    /// # Errors
    /// If there is no terminal or it breaks off.
    fn hidden(&mut self, prompt: &str) -> io::Result<Zeroizing<String>>;

    /// All of standard input, at most `limit` bytes.
    ///
    /// # Errors
    /// If there is more, or reading fails.
    fn all(&mut self, limit: usize) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// This process's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal;

impl Keyboard for Terminal {
    fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn hidden(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        rpassword::prompt_password(prompt).map(Zeroizing::new)
    }

    fn all(&mut self, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        take(io::stdin().lock(), 0, limit)
    }
}

/// A file that must fit into memory.
pub(crate) fn read_limited(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    read_secret(path, limit).map(|mut bytes| std::mem::take(&mut *bytes))
}

/// The same, wiped when it goes.
pub(crate) fn read_secret(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let expected = file.metadata().map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX));
    take(file, expected, limit)
}

fn take(from: impl Read, expected: usize, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a vector that grows leaves copies behind that nobody wipes.
    let room = if expected == 0 { limit.min(1 << 20) } else { expected.min(limit) };
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::other(format!("larger than the limit of {limit} bytes")));
    }
    Ok(bytes)
}

/// A passphrase: the file's first line, or asked for, twice where it is a new one.
pub(crate) fn passphrase(
    keyboard: &mut dyn Keyboard,
    file: Option<&Path>,
    option: &str,
    prompt: &str,
    new: bool,
) -> Result<Zeroizing<String>, Error> {
    let read = match file {
        Some(path) => first_line(path, option)?,
        None if !keyboard.is_terminal() => {
            return Err(Error::Usage(format!("there is no terminal to ask at; use {option} F")));
        }
        None => {
            let broken = |error: io::Error| Error::Usage(format!("nothing could be asked at the terminal: {error}; use {option} F"));
            let first = keyboard.hidden(&format!("{prompt}: ")).map_err(broken)?;
            if new && *keyboard.hidden(&format!("{prompt} once more: ")).map_err(broken)? != *first {
                return Err(Error::usage("the two are not the same; nothing was done"));
            }
            first
        }
    };
    if new && read.is_empty() {
        return Err(Error::usage("an empty passphrase protects nothing; nothing was done"));
    }
    Ok(read)
}

/// The first line of a file that holds a secret text.
pub(crate) fn first_line(path: &Path, option: &str) -> Result<Zeroizing<String>, Error> {
    let shown = pki::text::escape(&path.display().to_string());
    let bytes = read_secret(path, MAX_PASSPHRASE).map_err(|error| Error::Usage(format!("{option} {shown}: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::Usage(format!("{option} {shown}: this is not text")))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    struct Person(Vec<&'static str>);

    impl Keyboard for Person {
        fn is_terminal(&self) -> bool {
            !self.0.is_empty()
        }
        fn hidden(&mut self, _: &str) -> io::Result<Zeroizing<String>> {
            Ok(Zeroizing::new(self.0.remove(0).to_owned()))
        }
        fn all(&mut self, _: usize) -> io::Result<Zeroizing<Vec<u8>>> {
            Err(io::Error::other("unused"))
        }
    }

    #[test]
    fn a_passphrase_is_asked_twice_only_where_it_is_new() {
        let check = |typed: &[&'static str], new, expected: Result<&str, &str>| {
            let got = passphrase(&mut Person(typed.to_vec()), None, "--passphrase-file", "Passphrase", new);
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(*got, expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, expected) => panic!("{:?} instead of {expected:?}", got.map(|g| g.len())),
            }
        };
        check(&["a"], false, Ok("a"));
        check(&["a", "a"], true, Ok("a"));
        check(&["a", "b"], true, Err("not the same"));
        check(&["", ""], true, Err("empty"));
        check(&[], false, Err("--passphrase-file F"));
    }

    #[test]
    fn files_are_bounded_and_passphrases_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "one\r\ntwo\n").unwrap();
        assert_eq!(*first_line(&path, "--x").unwrap(), "one");
        assert_eq!(read_limited(&path, 9).unwrap().len(), 9);
        assert!(read_limited(&path, 8).unwrap_err().to_string().contains("limit of 8"));
        assert!(first_line(&folder.path().join("none"), "--x").unwrap_err().to_string().starts_with("--x"));
    }
}
