//! The house keeps its own rules: every crate's sentence in `ARCHITECTURE.md` is checked against what Cargo says is built.
//!
//! A rule that fails here is either broken by mistake, then the message says what to use instead; or it is meant, then the table
//! and the list below are changed first, with the reason.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Longest source file, in lines. A ratchet: it may go down.
const MOST_LINES: usize = 900;

/// Libraries that only these crates may name as a dependency of their own, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("x509-parser", &["pki"], "one parser reads certificates; use pki::Certificate"),
    ("p12-keystore", &["pki"], "use pki::load, which looks at the cost before it opens anything"),
    ("pkcs5", &["pki"], "use pki::load"),
    ("pkcs12", &["pki"], "use pki::load"),
    ("des", &["pki"], "no cipher for anything but old PKCS#12 files"),
    ("rc2", &["pki"], "no cipher for anything but old PKCS#12 files"),
    ("rcgen", &[], "use pki::issue, or pki::build for the demo and tests"),
    ("webpki", &["pki", "probe"], "use pki::Verifier; probe proves possession of a key and nothing else with it"),
    ("rusqlite", &["store"], "use store::Store"),
    ("postgres", &["store"], "use store::Store"),
    ("tokio-postgres-rustls", &["store"], "use store::Store"),
    ("argon2", &["envelope"], "use envelope::Passphrase"),
    ("flate2", &["artifact"], "use artifact::scan, which holds what comes out against limits"),
    ("ruzstd", &["artifact"], "use artifact::scan, which holds what comes out against limits"),
    ("lzma-rust2", &["artifact"], "use artifact::scan, which holds what comes out against limits"),
    ("hyper", &["outbound", "server"], "use outbound::Client, which refuses inside addresses"),
    ("axum", &["server"], "only the server answers HTTP"),
    ("prometheus-client", &["server"], "only the server has metrics"),
    ("clap", &["agent", "client", "perennial"], "only commands have arguments"),
    (
        "rustix",
        &["acme", "agent", "artifact", "server"],
        "the clock that counts is read at server::clock; artifact asks for the holes of files alone, acme and agent end what they started",
    ),
    ("instant-acme", &["acme"], "use acme::Ca, which speaks through outbound and holds what comes back against what was asked for"),
    (
        "jiff",
        &["pki", "domain", "api"],
        "use pki::Time; domain::calendar knows zones; api reads the dates of fleet.toml and has no dependency of ours",
    ),
];

/// Libraries that no crate of ours names, also not for tests, and what to use instead.
const BANISHED: &[(&str, &str)] = &[
    ("openssl", "rustls with aws-lc-rs is the one TLS stack"),
    ("native-tls", "rustls with aws-lc-rs is the one TLS stack"),
    ("ring", "aws-lc-rs is the one cryptographic provider"),
    ("x509-cert", "x509-parser, inside pki"),
    ("chrono", "pki::Time"),
    ("time", "pki::Time"),
    ("reqwest", "outbound::Client"),
    ("ureq", "outbound::Client"),
    ("sqlx", "store::Store"),
    ("rand", "the entropy port"),
    ("anyhow", "an error type that callers can tell apart, with thiserror"),
    ("lazy_static", "an argument, or std::sync::OnceLock"),
];

/// What a crate must not even reach through others.
const OUT_OF_REACH: &[(&str, &[&str])] = &[
    ("pki", &["tokio", "rustls", "hyper", "rusqlite", "postgres"]),
    ("domain", &["tokio", "rustls", "hyper", "rusqlite", "postgres"]),
    ("api", &["tokio", "rustls", "aws-lc-rs", "x509-parser", "rusqlite", "pki"]),
    ("artifact", &["tokio", "rustls", "hyper", "rusqlite", "postgres", "libz-sys", "zstd-sys", "lzma-sys"]),
    ("envelope", &["tokio", "rustls", "serde", "rusqlite", "pki"]),
    ("outbound", &["rusqlite", "postgres", "serde", "pki"]),
    ("acme", &["rusqlite", "postgres", "axum", "envelope", "argon2"]),
    ("probe", &["hyper", "rusqlite", "postgres"]),
    ("store", &["hyper", "axum", "envelope", "argon2"]),
    ("engine", &["hyper", "axum", "outbound", "probe"]),
    ("client", &["store", "domain", "engine", "envelope", "rusqlite", "postgres", "axum", "argon2"]),
    ("agent", &["store", "domain", "engine", "server", "envelope", "rusqlite", "postgres", "axum", "argon2"]),
];

/// What a crate must not name itself, where something below it needs it.
const NOT_BY_NAME: &[(&str, &[&str])] = &[
    ("store", &["tokio", "serde"]),
    ("engine", &["tokio", "rustls", "aws-lc-rs"]),
    ("domain", &["serde", "thiserror"]),
    ("pki", &["serde", "tokio"]),
    ("probe", &["serde"]),
];

/// Words that must not stand in a crate's code (its tests excepted), and why.
const UNSPEAKABLE: &[(&str, &[&str], &str)] = &[
    (
        "engine",
        &["SystemTime", "Instant", "HashMap", "HashSet", "std::env", "std::fs", "std::thread", "TcpStream", "println!"],
        "time, randomness and sockets come in through ports, and what is unordered makes two runs differ",
    ),
    ("pki", &["SystemTime", "Instant", "std::env", "std::fs", "TcpStream", "std::thread"], "bytes in, values out"),
    (
        "artifact",
        &[
            "SystemTime",
            "Instant",
            "rustix::time",
            "std::env",
            "std::process",
            "std::thread",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "File::create",
            "OpenOptions",
            "fs::write",
            "create_dir",
            "remove_",
            "rename(",
            "set_permissions",
            "hard_link",
            "symlink(",
        ],
        "it reads what it is given, writes nothing and connects nowhere; the caller brings the clock",
    ),
    ("api", &["SystemTime", "Instant", "std::env", "std::fs", "TcpStream", "std::thread"], "data and nothing else"),
    ("envelope", &["SystemTime", "Instant", "std::env", "std::fs", "SystemRandom", "rand::fill"], "whoever calls brings the bytes"),
    ("probe", &["SystemTime", "std::fs", "std::env"], "it reports what was presented, not when"),
    ("outbound", &["SystemTime", "std::env", "std::fs"], "no proxies, no variables, no stored state"),
    (
        "acme",
        &["SystemTime", "std::env", "std::fs", "std::thread", "hyper::"],
        "now is an argument, nothing is stored, and HTTP goes out by outbound",
    ),
    ("client", &["TcpStream", "hyper::"], "use outbound::Client"),
    ("agent", &["TcpStream", "hyper::"], "use outbound::Client or probe::Dialer"),
    ("server", &["hyper::client", "hyper_util::client", "TcpStream::connect"], "use outbound::Client or probe::Dialer"),
    ("perennial", &["hyper::client", "hyper_util::client"], "use outbound::Client"),
];

/// Of `envelope` the server names what a passphrase or a key file is; sealed bytes are opened by the engine alone.
const OF_ENVELOPE_FOR_SERVER: &[&str] = &["Passphrase", "KeyFile", "Provider", "UnlockError"];

/// Exactly one version of each is compiled into the program.
const ONE_OF: &[(&str, &str)] =
    &[("rustls", "0.23."), ("rustls-webpki", ""), ("aws-lc-rs", ""), ("x509-parser", ""), ("jiff", ""), ("tokio", ""), ("hyper", "")];

/// None of these is compiled into the program.
const NONE_OF: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "chrono", "reqwest", "sqlx-core", "rustls-pemfile"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    // Everything that is needed was fetched to build this very test.
    let output = Command::new(env!("CARGO")).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = String::from_utf8(Command::new(rustc).arg("-vV").output().unwrap().stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The workspace as Cargo sees it.
struct House {
    crates: BTreeMap<String, Crate>,
    /// Package id → (name, ids of what it is built with).
    graph: BTreeMap<String, (String, Vec<String>)>,
}

struct Crate {
    id: String,
    description: String,
    folder: PathBuf,
    /// What its Cargo.toml names: for the code, and for tests.
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

impl House {
    fn look() -> House {
        let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--filter-platform", &host()])).unwrap();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let names: BTreeMap<String, String> = list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let mut crates = BTreeMap::new();
        for package in list(&metadata["packages"]).iter().filter(|p| members.contains(&text(&p["id"]))) {
            let (mut code, mut tests) = (BTreeSet::new(), BTreeSet::new());
            for dependency in list(&package["dependencies"]) {
                // A renamed one counts by the name that the code uses.
                let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap().to_owned();
                if dependency["kind"] == "dev" {
                    tests.insert(name)
                } else {
                    code.insert(name)
                };
            }
            let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
            let one = Crate { id: text(&package["id"]), description: text(&package["description"]), folder, code, tests };
            crates.insert(text(&package["name"]), one);
        }
        let mut graph = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let built_with = list(&node["deps"])
                .iter()
                .filter(|d| list(&d["dep_kinds"]).iter().any(|k| k["kind"] != "dev"))
                .map(|d| text(&d["pkg"]))
                .collect();
            let id = text(&node["id"]);
            graph.insert(id.clone(), (names[&id].clone(), built_with));
        }
        House { crates, graph }
    }

    /// Names of all that a crate is built with.
    fn reach(&self, name: &str) -> BTreeSet<String> {
        let (mut seen, mut names, mut next) = (BTreeSet::new(), BTreeSet::new(), vec![self.crates[name].id.clone()]);
        while let Some(id) = next.pop() {
            if seen.insert(id.clone()) {
                let (name, built_with) = &self.graph[&id];
                names.insert(name.clone());
                next.extend(built_with.iter().cloned());
            }
        }
        names
    }
}

/// A row of the table of crates: its sentence, and what of ours it may use.
fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let after = page.split("| crate | its sentence | of ours it may use |").nth(1).expect("ARCHITECTURE.md has the table of crates");
    let mut rows = BTreeMap::new();
    for line in after.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, sentence, may_use] = cells[..] else { panic!("a row of three cells: {line}") };
        rows.insert(name.trim_matches('`').to_owned(), (sentence.to_owned(), names(may_use)));
    }
    rows
}

/// The files below a folder with this ending, with their text.
fn files(folder: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Code without its comments and without what follows the first `#[cfg(test)]` at the margin.
fn code_alone(text: &str) -> String {
    let upto = text.find("\n#[cfg(test)]").unwrap_or(text.len());
    text[..upto].lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn nothing(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_has_its_sentence_and_keeps_to_its_neighbours() {
    let (house, table) = (House::look(), table());
    let mut wrong = Vec::new();
    for name in table.keys().filter(|name| !house.crates.contains_key(*name)) {
        wrong.push(format!("ARCHITECTURE.md describes {name}, which is no crate of the workspace"));
    }
    for (name, one) in &house.crates {
        let Some((sentence, may_use)) = table.get(name) else {
            wrong.push(format!("crate {name} has no row in the table of ARCHITECTURE.md; a crate exists only for its sentence"));
            continue;
        };
        if one.description != *sentence {
            wrong.push(format!("the description of {name} is {:?}, its sentence in ARCHITECTURE.md {sentence:?}", one.description));
        }
        for ours in one.code.iter().filter(|d| house.crates.contains_key(*d) && !may_use.contains(*d)) {
            wrong.push(format!("{name} uses {ours}, which its row in ARCHITECTURE.md does not allow"));
        }
    }
    nothing(&wrong);
}

#[test]
fn libraries_stay_where_they_belong() {
    let house = House::look();
    let mut wrong = Vec::new();
    for (name, one) in &house.crates {
        for (library, owners, instead) in RESERVED {
            if one.code.contains(*library) && !owners.contains(&name.as_str()) {
                wrong.push(format!("{name} depends on {library}: {instead}"));
            }
        }
        for (library, instead) in BANISHED {
            if one.code.contains(*library) || one.tests.contains(*library) {
                wrong.push(format!("{name} depends on {library}: {instead}"));
            }
        }
    }
    for (name, libraries) in NOT_BY_NAME {
        for library in libraries.iter().filter(|l| house.crates[*name].code.contains(**l)) {
            wrong.push(format!("{name} depends on {library}, which its sentence forbids"));
        }
    }
    for (name, libraries) in OUT_OF_REACH {
        let reach = house.reach(name);
        for library in libraries.iter().filter(|l| reach.contains(**l)) {
            wrong.push(format!("{name} is built with {library}, which its sentence forbids; `cargo tree -p {name} -i {library}` says how"));
        }
    }
    nothing(&wrong);
}

#[test]
fn decisions_have_no_standard_library() {
    let house = House::look();
    let domain = &house.crates["domain"];
    let first = fs::read_to_string(domain.folder.join("src/lib.rs")).unwrap();
    assert!(
        first.lines().any(|line| line.trim() == "#![no_std]"),
        "the compiler keeps clock and environment out of `domain` by #![no_std]"
    );
    assert_eq!(domain.code, BTreeSet::from(["pki".to_owned(), "jiff".to_owned()]), "`domain` uses pki and nothing else, its calendar jiff");
    let calendar = domain.folder.join("src/calendar");
    let sources = files(&domain.folder.join("src"), "rs");
    let astray: Vec<_> = sources.iter().filter(|(path, text)| !path.starts_with(&calendar) && code_alone(text).contains("jiff")).collect();
    assert!(astray.is_empty(), "only domain::calendar turns times on the wall into instants: {astray:?}");
    // What would read the machine's clock, zone or files.
    for word in ["Timestamp::now", "Zoned::now", "TimeZone::system", "TimeZone::get", "tz::db(", "from_env", "from_dir"] {
        assert!(sources.iter().all(|(_, text)| !code_alone(text).contains(word)), "`domain` says {word}: it knows no machine");
    }
    let with_std: Vec<_> =
        files(&domain.folder.join("src"), "rs").into_iter().filter(|(_, text)| code_alone(text).contains("extern crate std")).collect();
    assert!(with_std.is_empty(), "{with_std:?}");
}

#[test]
fn crates_do_not_say_what_their_sentence_forbids() {
    let house = House::look();
    let mut wrong = Vec::new();
    for (name, words, why) in UNSPEAKABLE {
        for (path, text) in files(&house.crates[*name].folder.join("src"), "rs") {
            let code = code_alone(&text);
            for word in words.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{} says {word}: {why}", path.display()));
            }
        }
    }
    for (name, one) in &house.crates {
        for (path, text) in files(&one.folder.join("src"), "rs") {
            let mentions = code_alone(&text);
            for after in mentions.split("envelope::").skip(1).filter(|_| name != "engine" && name != "envelope") {
                let list = if let Some(inside) = after.strip_prefix('{') {
                    inside.split('}').next()
                } else {
                    after.split(|c: char| !c.is_alphanumeric() && c != '_').next()
                };
                for word in list.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
                    if !["server", "sim"].contains(&name.as_str()) || !OF_ENVELOPE_FOR_SERVER.contains(&word) {
                        wrong.push(format!("{} names envelope::{word}: only the engine opens sealed bytes", path.display()));
                    }
                }
            }
        }
    }
    nothing(&wrong);
}

#[test]
fn one_stack_is_compiled_into_the_program() {
    // Not from the metadata: those list what a weak feature would bring, whether it is compiled or not.
    let tree = cargo(&["tree", "-p", "perennial", "-e", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let mut built: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            built.entry(name).or_default().insert(version.trim_start_matches('v'));
        }
    }
    let mut wrong = Vec::new();
    for (name, version) in ONE_OF {
        let versions = built.get(name).cloned().unwrap_or_default();
        if versions.len() != 1 || !versions.iter().all(|v| v.starts_with(version)) {
            wrong.push(format!("{name} is compiled in versions {versions:?}, not in one of {version}*; `cargo tree -i {name}` says why"));
        }
    }
    for name in NONE_OF.iter().filter(|name| built.contains_key(**name)) {
        wrong.push(format!("{name} is compiled into the program; `cargo tree -i {name} -e normal,build` says why"));
    }
    nothing(&wrong);
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = files(&root().join("crates"), "rs")
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MOST_LINES)
        .map(|(path, text)| format!("{} has {} lines, more than {MOST_LINES}: one subject per file", path.display(), text.lines().count()))
        .collect();
    nothing(&long);
}

#[test]
fn pages_lead_somewhere() {
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(fs::read_dir(root()).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        (path.extension()? == "md").then(|| (path.clone(), fs::read_to_string(&path).unwrap()))
    }));
    let mut wrong = Vec::new();
    for (path, text) in pages {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !elsewhere && !path.parent().unwrap().join(file).exists() {
                wrong.push(format!("{} links to {file}, which is not there", path.display()));
            }
        }
        // Paths in the code map are promises too.
        for word in text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("crates/") && !word.contains([' ', '*', '{', '<'])) {
            if !root().join(word).exists() {
                wrong.push(format!("{} names {word}, which is not there", path.display()));
            }
        }
    }
    nothing(&wrong);
}
