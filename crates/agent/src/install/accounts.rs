//! Owners and groups by name, from the files of this machine: a small static program has no name services.

use std::io;

use crate::files;

/// The number of a user: the name as it stands in `/etc/passwd`, or a number.
pub(crate) fn user(name: &str) -> io::Result<u32> {
    number("/etc/passwd", "user", name)
}

/// The number of a group.
pub(crate) fn group(name: &str) -> io::Result<u32> {
    number("/etc/group", "group", name)
}

fn number(file: &str, kind: &str, name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let bytes = files::read(std::path::Path::new(file))?.unwrap_or_default();
    let found = find(&String::from_utf8_lossy(&bytes), name);
    found.ok_or_else(|| {
        io::Error::other(format!("no {kind} {} in {file}; names of other sources are given as numbers", pki::text::escape(name)))
    })
}

fn find(text: &str, name: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers() {
        let text = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nbroken\n";
        assert_eq!(find(text, "www-data"), Some(33));
        assert_eq!(find(text, "root"), Some(0));
        assert_eq!(find(text, "www"), None);
        assert_eq!(find(text, "broken"), None);
        assert_eq!(user("0").unwrap(), 0);
        assert_eq!(user("root").unwrap(), 0);
        assert!(group("no-such-group").unwrap_err().to_string().contains("/etc/group"));
    }
}
