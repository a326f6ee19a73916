//! Reading files and following includes, behind one small trait so that readers stay pure.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{AdoptError, MAX_CONFIG_BYTES, MAX_INCLUDE_DEPTH, MAX_INCLUDES};

/// Longest path of an include, in bytes.
const MAX_PATTERN_BYTES: usize = 4_096;

/// What readers may ask of the outside.
pub trait Files {
    /// The bytes of a file, at most [`MAX_CONFIG_BYTES`] and one more.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// The files that a pattern with `*`, `?` and `[…]` stands for, sorted; none if nothing fits.
    ///
    /// # Errors
    /// Why it cannot be told, in words.
    fn matching(&self, pattern: &str) -> Result<Vec<String>, String>;
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        use std::io::Read;
        let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        // One byte more than permitted, so that the caller can see that there is more.
        let limit = MAX_CONFIG_BYTES as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, String> {
        if !is_pattern(pattern) {
            return Ok(if Path::new(pattern).exists() { vec![pattern.to_owned()] } else { Vec::new() });
        }
        let mut found = vec![PathBuf::new()];
        for part in Path::new(pattern).components() {
            let text = part.as_os_str().to_string_lossy();
            let mut next = Vec::new();
            for base in &found {
                if !matches!(part, Component::Normal(_)) || !is_pattern(&text) {
                    let path = base.join(part);
                    if path.exists() {
                        next.push(path);
                    }
                    continue;
                }
                let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
                let Ok(entries) = std::fs::read_dir(base) else {
                    continue;
                };
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    // As in a shell, a leading dot has to be written.
                    if fits(&text, &name) && (!name.starts_with('.') || text.starts_with('.')) {
                        next.push(base.join(name.as_ref()));
                    }
                    if next.len() > MAX_INCLUDES {
                        return Err(format!("more than {MAX_INCLUDES} files fit"));
                    }
                }
            }
            found = next;
        }
        let mut out: Vec<String> = found.into_iter().map(|p| p.to_string_lossy().into_owned()).collect();
        out.sort();
        Ok(out)
    }
}

/// A file as text.
pub(super) fn text(files: &dyn Files, path: &str) -> Result<String, AdoptError> {
    let bytes = files.read(path).map_err(|why| AdoptError::new(path, (1, 1), format!("cannot be read: {}", pki::text::escape(&why))))?;
    decode(path, bytes)
}

/// Bytes as text, without a byte order mark.
pub(super) fn decode(path: &str, bytes: Vec<u8>) -> Result<String, AdoptError> {
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(AdoptError::new(path, (1, 1), format!("larger than {MAX_CONFIG_BYTES} bytes; adopt in parts")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(e) => {
            let good = e.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(e.as_bytes().get(..good).unwrap_or_default()).into_owned();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
            Err(AdoptError::new(path, (line, column), "not UTF-8 text; is this a configuration?"))
        }
    }
}

/// The files that were opened on the way to here: a chain that ends loops, and a count that ends floods.
pub(super) struct Includes<'f> {
    files: &'f dyn Files,
    /// Directories that relative paths are tried in, in this order.
    pub(super) bases: Vec<String>,
    opened: usize,
    open: BTreeSet<String>,
}

impl<'f> Includes<'f> {
    /// For a configuration that begins in `path`: relative includes are looked for beside it, then above.
    pub(super) fn new(files: &'f dyn Files, path: &str) -> Includes<'f> {
        let beside = Path::new(path).parent().unwrap_or(Path::new(""));
        // A file of sites-enabled/ writes its includes relative to the directory of the main file.
        let mut bases: Vec<String> = Vec::new();
        for base in beside.ancestors().take(3) {
            bases.push(base.to_string_lossy().into_owned());
        }
        Includes { files, bases, opened: 0, open: BTreeSet::from([path.to_owned()]) }
    }

    /// The files that an include directive stands for, in order.
    pub(super) fn resolve(&self, pattern: &str, optional: bool) -> Result<Vec<String>, String> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err("the path is too long".to_owned());
        }
        let candidates: Vec<String> = if Path::new(pattern).is_absolute() {
            vec![pattern.to_owned()]
        } else {
            self.bases.iter().map(|base| Path::new(base).join(pattern).to_string_lossy().into_owned()).collect()
        };
        for candidate in candidates {
            let names = self.files.matching(&candidate)?;
            if !names.is_empty() {
                return Ok(names);
            }
        }
        if is_pattern(pattern) || optional {
            return Ok(Vec::new());
        }
        Err(format!("there is no file {}", pki::text::escape(pattern)))
    }

    /// As [`Includes::resolve`], with every file below where a directory is named.
    pub(super) fn resolve_below(&self, pattern: &str, optional: bool) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        for name in self.resolve(pattern, optional)? {
            self.below(&name, 0, &mut out)?;
        }
        Ok(out)
    }

    fn below(&self, name: &str, depth: usize, out: &mut Vec<String>) -> Result<(), String> {
        let bare = name.trim_end_matches('/');
        let within = self.files.matching(&format!("{bare}/*"))?;
        if out.len() + within.len() > MAX_INCLUDES || depth > MAX_INCLUDE_DEPTH {
            return Err(format!("more than {MAX_INCLUDES} files, or {MAX_INCLUDE_DEPTH} levels, lie below {}", pki::text::escape(name)));
        }
        // An empty directory has nothing to say, and is no file either.
        if within.is_empty() && bare == name {
            out.push(name.to_owned());
        }
        within.iter().try_for_each(|inner| self.below(inner, depth + 1, out))
    }

    /// The text of an included file; [`Includes::leave`] when done with it.
    pub(super) fn enter(&mut self, name: &str) -> Result<String, String> {
        self.opened += 1;
        if self.opened > MAX_INCLUDES {
            return Err(format!("more than {MAX_INCLUDES} files are included"));
        }
        if self.open.contains(name) {
            return Err(format!("{} includes itself", pki::text::escape(name)));
        }
        if self.open.len() > MAX_INCLUDE_DEPTH {
            return Err(format!("files include each other more than {MAX_INCLUDE_DEPTH} levels deep"));
        }
        let text = text(self.files, name).map_err(|e| e.to_string())?;
        self.open.insert(name.to_owned());
        Ok(text)
    }

    pub(super) fn leave(&mut self, name: &str) {
        self.open.remove(name);
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a name fits a shell pattern of one path component. Linear in practice and never worse than
/// the product of both lengths: only the last `*` is ever reconsidered.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let p: Vec<char> = pattern.chars().collect();
    let n: Vec<char> = name.chars().collect();
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < n.len() {
        let step = match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
                continue;
            }
            Some('?') => Some(i + 1),
            Some('[') => class(&p, i, n[j]),
            Some(c) if *c == n[j] => Some(i + 1),
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => {
                i = next;
                j += 1;
            }
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                i = at + 1;
                j = taken + 1;
            }
            (None, None) => return false,
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

/// Matches one `[…]`; the index behind it if the character is in it.
fn class(p: &[char], open: usize, c: char) -> Option<usize> {
    let mut i = open + 1;
    let negated = matches!(p.get(i), Some('!' | '^'));
    if negated {
        i += 1;
    }
    let first = i;
    let mut inside = false;
    loop {
        match (p.get(i), p.get(i + 1), p.get(i + 2)) {
            (None, ..) => return None,
            (Some(']'), ..) if i > first => break,
            (Some(low), Some('-'), Some(high)) if *high != ']' => {
                inside |= (*low..=*high).contains(&c);
                i += 3;
            }
            (Some(single), ..) => {
                inside |= *single == c;
                i += 1;
            }
        }
    }
    (inside != negated).then_some(i + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[0-9]*", "10-default", true),
            ("[!0-9]*", "10-default", false),
            ("[]]", "]", true),
            ("[a", "a", false),
            ("*a*b", "xaxb", true),
            ("*a*b", "xbxa", false),
            ("ö*", "öl", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!fits(&"*a".repeat(2_000), &"a".repeat(4_000).replace("aa", "ab")));
    }

    #[test]
    fn the_disk_answers_patterns_sorted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sites/one")).unwrap();
        std::fs::create_dir_all(dir.path().join("sites/two")).unwrap();
        for name in ["sites/two/b.conf", "sites/one/a.conf", "sites/one/.hidden.conf", "sites/one/x.txt"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let root = dir.path().to_string_lossy();
        let found = Disk.matching(&format!("{root}/sites/*/*.conf")).unwrap();
        assert_eq!(found, [format!("{root}/sites/one/a.conf"), format!("{root}/sites/two/b.conf")]);
        assert_eq!(Disk.matching(&format!("{root}/none")).unwrap(), Vec::<String>::new());
        assert!(Disk.read(&found[0]).unwrap().starts_with(b"sites/one"));
        // A directory stands for what lies below it, and an empty one for nothing.
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        let includes = Includes::new(&Disk, &format!("{root}/main"));
        let below = ["sites/one/a.conf", "sites/one/x.txt", "sites/two/b.conf"].map(|name| format!("{root}/{name}"));
        assert_eq!(includes.resolve_below("sites", false).unwrap(), below);
        assert_eq!(includes.resolve_below("sites/", true).unwrap(), below);
        assert_eq!(includes.resolve_below("sites/*/*.conf", false).unwrap(), found);
        assert_eq!(includes.resolve_below("empty/", false).unwrap(), Vec::<String>::new());
        assert!(includes.resolve_below("none/", false).is_err());
    }

    #[test]
    fn what_is_not_text_is_said_with_its_place() {
        let e = decode("x\u{1b}", b"ab\nc\xff".to_vec()).unwrap_err();
        assert_eq!(e.to_string(), "x\\u{1b}:2:2: not UTF-8 text; is this a configuration?");
        assert_eq!(decode("x", b"\xef\xbb\xbfa".to_vec()).unwrap(), "a");
        assert!(decode("x", vec![b'a'; MAX_CONFIG_BYTES + 1]).is_err());
    }
}
