//! From TOML to a [`Config`], with every problem at its line and column.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use probe::Protocol;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, DEFAULT_LIMIT, DEFAULT_STATE, DEFAULT_WITHIN, How, Install, KeyFamily, Look, MAX_BYTES, MOST_TIME, MOST_WORDS, Place, Reload,
    Signal,
};

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what to do next.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads a configuration.
///
/// # Errors
/// Every problem, in the order of the text.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    if text.len() > MAX_BYTES {
        return Err(vec![Problem { line: 1, column: 1, message: format!("the file has {} bytes, more than {MAX_BYTES}", text.len()) }]);
    }
    let (root, syntax) = DeTable::parse_recoverable(text);
    let mut found: Vec<(usize, String)> = syntax
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start), format!("not valid TOML: {}", error.message().replace('\n', "; "))))
        .collect();
    if found.is_empty() {
        let config = config(&mut Reader::new(root.get_ref(), 0..0, &mut found));
        if found.is_empty() {
            return Ok(config);
        }
    }
    let mut problems: Vec<Problem> = found
        .into_iter()
        .map(|(offset, message)| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            Problem { line, column, message }
        })
        .collect();
    problems.sort();
    problems.dedup();
    Err(problems)
}

fn config(t: &mut Reader<'_, '_>) -> Config {
    let state = t.path("state").unwrap_or_else(|| PathBuf::from(DEFAULT_STATE));
    let mut taken = BTreeMap::new();
    let installs = t.tables("install", |t| {
        let install = install(t);
        for path in paths(&install.place) {
            if let Some(other) = taken.insert(path.clone(), install.secret.clone()) {
                let message = format!("{} is already filled by secret {other}: one path holds one certificate", path.display());
                t.problem_here(message);
            }
        }
        install
    });
    t.finish();
    Config { state, installs }
}

fn paths(place: &Place) -> Vec<PathBuf> {
    match place {
        Place::Pair { certificate, key } => vec![certificate.clone(), key.clone()],
        Place::Combined(path) | Place::Directory(path) => vec![path.clone()],
    }
    .into_iter()
    .filter(|path| !path.as_os_str().is_empty())
    .collect()
}

fn install(t: &mut Reader<'_, '_>) -> Install {
    let secret = t.text("secret").unwrap_or_else(|| t.missing("secret = \"…\", the secret's name in the store"));
    if !secret.is_empty() && !api::fleet::is_name(&secret) {
        t.problem("secret", "secret is no name: letters, digits and ._-:@+* are one".to_owned());
    }
    let (certificate, key, combined, directory) = (t.path("certificate"), t.path("key"), t.path("combined"), t.path("directory"));
    let place = match (certificate, key, combined, directory) {
        (Some(certificate), Some(key), None, None) => Place::Pair { certificate, key },
        (None, None, Some(path), None) => Place::Combined(path),
        (None, None, None, Some(path)) => Place::Directory(path),
        _ => {
            // A path that could not be read was told already.
            if !["certificate", "key", "combined", "directory"].iter().any(|key| t.is_wrong(key)) {
                t.problem_here("say where the files lie: certificate and key, or combined, or directory, and only one of these".to_owned());
            }
            Place::Combined(PathBuf::new())
        }
    };
    Install {
        secret,
        place,
        key_type: t.word("key_type", &[("rsa", KeyFamily::Rsa), ("ecdsa", KeyFamily::Ecdsa), ("ed25519", KeyFamily::Ed25519)]),
        owner: t.account("owner"),
        group: t.account("group"),
        mode: t.mode("mode"),
        reload: t.table("reload", reload).flatten(),
        look: t.table("look", look).flatten(),
        target: t.text("target"),
    }
}

fn reload(t: &mut Reader<'_, '_>) -> Option<Reload> {
    let limit = t.time("limit").unwrap_or(DEFAULT_LIMIT);
    let unit = t.text("unit");
    let signal = t.word("signal", &[("HUP", Signal::Hup), ("USR1", Signal::Usr1), ("USR2", Signal::Usr2)]);
    let pid_file = t.path("pid_file");
    let command = t.words("command");
    let how = match (unit, signal, pid_file, command) {
        (Some(unit), None, None, None) => {
            let ordinary = |b: u8| b.is_ascii_alphanumeric() || b"._-@:\\".contains(&b);
            if unit.is_empty() || unit.starts_with('-') || !unit.bytes().all(ordinary) {
                t.problem("unit", "unit is no name of a systemd unit, such as \"nginx.service\"".to_owned());
            }
            How::Unit(unit)
        }
        (None, Some(signal), Some(pid_file), None) => How::Signal { signal, pid_file },
        (None, None, None, Some(command)) => {
            if command.first().is_none_or(|program| !program.starts_with('/')) {
                t.problem("command", "command begins with a program's absolute path; no shell reads it".to_owned());
            }
            if command.len() > MOST_WORDS {
                t.problem("command", format!("command has {} words, more than {MOST_WORDS}", command.len()));
            }
            How::Command(command)
        }
        _ => {
            if !["unit", "signal", "pid_file", "command"].iter().any(|key| t.is_wrong(key)) {
                t.problem_here("reload is one of: unit, or signal with pid_file, or command".to_owned());
            }
            return None;
        }
    };
    Some(Reload { how, limit })
}

fn look(t: &mut Reader<'_, '_>) -> Option<Look> {
    let within = t.time("within").unwrap_or(DEFAULT_WITHIN);
    let server_name = t.text("server_name");
    let words: Vec<(&str, Protocol)> = Protocol::ALL.iter().map(|protocol| (protocol.as_str(), *protocol)).collect();
    let protocol = t.word("protocol", &words).unwrap_or(Protocol::Tls);
    let Some(address) = t.text("address") else {
        if !t.is_wrong("address") {
            t.problem_here("look needs address = \"127.0.0.1:443\", a port of this node".to_owned());
        }
        return None;
    };
    let split = address.rsplit_once(':').map(|(host, port)| (host.trim_matches(['[', ']']).to_owned(), port.parse::<u16>()));
    match split {
        Some((host, Ok(port))) if port > 0 && !host.is_empty() => Some(Look { host, port, server_name, protocol, within }),
        _ => {
            t.problem("address", "address is not HOST:PORT, such as \"127.0.0.1:443\" or \"[::1]:443\"".to_owned());
            None
        }
    }
}

/// A table that is being read. Keys that nobody asked for are unknown.
struct Reader<'a, 'p> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    known: Vec<&'static str>,
    wrong: Vec<&'static str>,
    found: &'p mut Vec<(usize, String)>,
}

impl<'a, 'p> Reader<'a, 'p> {
    fn new(table: &'a DeTable<'a>, span: Range<usize>, found: &'p mut Vec<(usize, String)>) -> Self {
        Reader { table, span, known: Vec::new(), wrong: Vec::new(), found }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn problem(&mut self, key: &'static str, message: String) {
        let at = self.table.get(key).map_or(self.span.start, |value| value.span().start);
        self.wrong.push(key);
        self.found.push((at, message));
    }

    fn problem_here(&mut self, message: String) {
        self.found.push((self.span.start, message));
    }

    fn is_wrong(&self, key: &str) -> bool {
        self.wrong.contains(&key)
    }

    fn missing(&mut self, what: &str) -> String {
        if !self.is_wrong("secret") {
            self.problem_here(format!("add {what}"));
        }
        String::new()
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        match self.find(key)?.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => {
                self.problem(key, format!("{key} should be a text in quotes"));
                None
            }
        }
    }

    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let path = Path::new(&text);
        let plain = path.components().all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
        if !path.is_absolute() || !plain || path.file_name().is_none() || text.contains('\0') || text.ends_with('/') {
            self.problem(key, format!("{key} should be an absolute path, without .. and without a slash at the end"));
            return None;
        }
        Some(path.to_owned())
    }

    fn account(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key)?;
        if text.is_empty() || text.contains([':', '\n', '/', '\0']) {
            self.problem(key, format!("{key} is neither a name nor a number"));
            return None;
        }
        Some(text)
    }

    fn mode(&mut self, key: &'static str) -> Option<u32> {
        let text = self.text(key)?;
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if digits && mode & !0o640 == 0 && mode & 0o400 != 0 => Some(mode),
            _ => {
                let why = "mode is one of \"0600\", \"0400\", \"0640\" and \"0440\": a key is read by its owner, perhaps by one group";
                self.problem(key, why.to_owned());
                None
            }
        }
    }

    fn time(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let seconds = [("ms", 1), ("s", 1000), ("m", 60_000)]
            .iter()
            .find_map(|(unit, millis)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*millis));
        match seconds.map(Duration::from_millis) {
            Some(time) if !time.is_zero() && time <= MOST_TIME => Some(time),
            _ => {
                self.problem(key, format!("{key} is a time such as \"10s\" or \"2m\", at most {} s", MOST_TIME.as_secs()));
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let possible: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(key, format!("unknown word for {key}; use one of {}", possible.join(", ")));
        }
        found
    }

    fn words(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = self.find(key)?.get_ref().as_array();
        let words: Option<Vec<String>> =
            list.and_then(|list| list.iter().map(|value| value.get_ref().as_str().map(str::to_owned)).collect());
        if words.is_none() {
            self.problem(key, format!("{key} should be a list of texts in quotes"));
        }
        words
    }

    fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader<'_, '_>) -> T) -> Option<T> {
        let value = self.find(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.problem(key, format!("{key} should be a table in braces"));
            return None;
        };
        let mut inner = Reader::new(table, value.span(), self.found);
        let out = read(&mut inner);
        inner.finish();
        Some(out)
    }

    fn tables<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Reader<'_, '_>) -> T) -> Vec<T> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.problem(key, format!("{key} should be [[{key}]], with two brackets"));
            return Vec::new();
        };
        let mut out = Vec::with_capacity(list.len());
        for value in list {
            let Some(table) = value.get_ref().as_table() else {
                self.found.push((value.span().start, format!("{key} should hold tables")));
                continue;
            };
            let mut inner = Reader::new(table, value.span(), self.found);
            out.push(read(&mut inner));
            inner.finish();
        }
        out
    }

    fn finish(&mut self) {
        for key in self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let mut known = self.known.clone();
            known.sort_unstable();
            known.dedup();
            let message = format!("unknown key {}; possible here: {}", pki::text::escape(key.get_ref()), known.join(", "));
            self.found.push((key.span().start, message));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"
state = "/var/lib/x"

[[install]]
secret = "www"
certificate = "/etc/nginx/tls/www/fullchain.pem"
key = "/etc/nginx/tls/www/key.pem"
owner = "root"
group = "www-data"
mode = "0640"
reload = { unit = "nginx.service" }
look = { address = "127.0.0.1:443", server_name = "www.example", within = "5s" }

[[install]]
secret = "www"
combined = "/etc/haproxy/tls/www.pem"
key_type = "ecdsa"
reload = { signal = "USR2", pid_file = "/run/haproxy.pid" }

[[install]]
secret = "db"
directory = "/etc/tls/db"
reload = { command = ["/usr/bin/pg_ctl", "reload"], limit = "90s" }
look = { address = "[::1]:5432", protocol = "postgres" }
target = "db-1"
"#;

    #[test]
    fn what_a_node_says_is_read() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.state, PathBuf::from("/var/lib/x"));
        assert_eq!(config.installs.len(), 3);
        assert_eq!(config.places_of("www").count(), 2);
        let db = &config.installs[2];
        assert_eq!(db.place, Place::Directory("/etc/tls/db".into()));
        assert_eq!(db.reload.as_ref().unwrap().limit, Duration::from_secs(90));
        let look = db.look.as_ref().unwrap();
        assert_eq!((look.host.as_str(), look.port, look.protocol, look.within), ("::1", 5432, Protocol::Postgres, DEFAULT_WITHIN));
        assert_eq!(parse("").unwrap(), Config { state: DEFAULT_STATE.into(), installs: vec![] });
    }

    #[test]
    fn all_problems_at_once_with_line_and_column() {
        let text = r#"stat = "/x"
[[install]]
secret = "a/b"
certificate = "tls/x.pem"
mode = "0644"
reload = { unit = "nginx", command = ["nginx"] }
look = { adress = "x" }
[[install]]
combined = "/a"
reload = { command = ["nginx", "-s"], limit = "1h" }
look = { address = "nowhere", protocol = "gopher" }
[[install]]
secret = "c"
combined = "/a"
"#;
        let problems: Vec<String> = parse(text).unwrap_err().iter().map(Problem::to_string).collect();
        let has = |at: &str, part: &str| {
            assert!(problems.iter().any(|p| p.starts_with(at) && p.contains(part)), "{at} {part}\n{}", problems.join("\n"));
        };
        has("1:1:", "unknown key stat; possible here: install, state");
        has("3:10:", "no name");
        has("4:15:", "absolute path");
        has("5:8:", "mode is one of");
        has("6:10:", "reload is one of");
        has("7:8:", "look needs address");
        has("7:10:", "unknown key adress");
        has("8:1:", "add secret");
        has("10:", "absolute path; no shell");
        has("10:", "limit is a time");
        has("11:", "HOST:PORT");
        has("11:", "unknown word for protocol");
        has("12:1:", "/a is already filled by secret");
        assert_eq!(problems.len(), 13, "{}", problems.join("\n"));
        has_one("[[install]\n", "not valid TOML");
    }

    #[track_caller]
    fn has_one(text: &str, part: &str) {
        let problems = parse(text).unwrap_err();
        assert!(problems.iter().any(|p| p.message.contains(part)), "{problems:?}");
    }

    #[test]
    fn paths_are_plain() {
        let check = |path: &str, good: bool| {
            let text = format!("[[install]]\nsecret = \"a\"\ncombined = \"{path}\"\n");
            assert_eq!(parse(&text).is_ok(), good, "{path}");
        };
        check("/a/b.pem", true);
        check("a.pem", false);
        check("/a/../b.pem", false);
        check("/a/b/", false);
        check("/", false);
        check("", false);
    }
}
