//! Papers, archives made by hand, and what a scan says in short.

use std::{
    cell::Cell,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use artifact::{Finding, KeyState, Limits, Source, Summary, Watch, What, Zeroizing, scan};
use pki::{Authority, KeyType, PrivateKey, Time};

/// A certificate and its key, made once.
pub(crate) struct Paper {
    pub(crate) certificate: pki::Certificate,
    pub(crate) key: PrivateKey,
}

pub(crate) fn paper() -> &'static Paper {
    static PAPER: OnceLock<Paper> = OnceLock::new();
    PAPER.get_or_init(|| {
        let (from, until) = (Time::parse("2020-01-01").unwrap(), Time::parse("2040-01-01").unwrap());
        let root = Authority::new("Root", from, until).unwrap();
        let (certificate, key) = root.leaf(&["one.example"], KeyType::EcdsaP256, from, until).unwrap();
        Paper { certificate, key }
    })
}

pub(crate) fn cert_pem() -> String {
    paper().certificate.to_pem()
}

pub(crate) fn key_pem() -> String {
    paper().key.expose_pem().to_string()
}

/// A clock that goes on by a step with each look at it.
pub(crate) struct Steps(Cell<Duration>, Duration);

impl Steps {
    pub(crate) fn of(step: Duration) -> Steps {
        Steps(Cell::new(Duration::ZERO), step)
    }
}

impl Watch for Steps {
    fn elapsed(&self) -> Duration {
        self.0.set(self.0.get() + self.1);
        self.0.get()
    }
}

/// "path: what", with the path behind that of the source.
pub(crate) fn word(finding: &Finding, root: &str) -> String {
    let path = finding.path.strip_prefix(root).unwrap_or(&finding.path);
    let form = finding.form.map_or("", artifact::Form::as_str);
    let alias = finding.alias.as_ref().map(|alias| format!(" as {alias}")).unwrap_or_default();
    let layer = finding.layer.as_ref().map(|l| format!(" in {}/{} of {:?}", l.number, l.of, l.image)).unwrap_or_default();
    let what = match &finding.what {
        What::Certificate(found) => format!("{} {form}", found.subject()),
        What::PrivateKey(key) => {
            let state = if key.state == KeyState::Clear { "clear" } else { "encrypted" };
            format!("{state} {} {form}", key.format)
        }
        What::Problem(problem) => format!("! {}", problem.code.as_str()),
    };
    format!("{path}: {what}{alias}{layer}")
}

/// Everything that a scan of a path tells.
pub(crate) fn findings(path: &Path, limits: &Limits, passwords: &[&str]) -> (Vec<Finding>, Summary) {
    let passwords: Vec<_> = passwords.iter().map(|one| Zeroizing::new((*one).to_owned())).collect();
    let mut found = Vec::new();
    let watch = Steps::of(Duration::ZERO);
    let summary = scan(&mut [Source::Path(path)], limits, &passwords, &watch, &mut |finding| {
        found.push(finding);
        true
    });
    (found, summary)
}

/// In short.
pub(crate) fn words(path: &Path) -> Vec<String> {
    let root = path.to_string_lossy().into_owned();
    findings(path, &Limits::default(), &[]).0.iter().map(|finding| word(finding, &root)).collect()
}

/// The same of bytes that come as a stream.
pub(crate) fn words_of(bytes: &[u8]) -> Vec<String> {
    within(bytes, &Limits::default()).0
}

pub(crate) fn within(mut bytes: &[u8], limits: &Limits) -> (Vec<String>, Summary) {
    let mut found = Vec::new();
    let watch = Steps::of(Duration::ZERO);
    let summary = scan(&mut [Source::Stream { name: "x", bytes: &mut bytes }], limits, &[], &watch, &mut |finding| {
        found.push(word(&finding, "x"));
        true
    });
    (found, summary)
}

/// The same of a file, which is read where it is needed.
pub(crate) fn words_of_file(bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes).unwrap();
    words(&path)
}

/// True if the program is here; else it is said aloud, and a failure where peers are required.
pub(crate) fn have(program: &str, what: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        let required = std::env::var_os("PERENNIAL_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "PERENNIAL_REQUIRE_PEERS=1, but {program} is missing: {what}");
        // Past the capture of the test runner, which keeps what a passing test prints.
        std::io::stderr().write_all(format!("SKIPPED {what}: no {program}\n").as_bytes()).unwrap();
    }
    found
}

/// Runs a shell's line in a folder.
pub(crate) fn sh(folder: &Path, line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A header of ustar with its checksum.
pub(crate) fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sign(&mut block);
    block
}

/// Writes the checksum.
pub(crate) fn sign(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// Entry by entry, without the end.
pub(crate) fn tar_open(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in entries {
        out.extend(header(name, b'0', data.len() as u64));
        out.extend(*data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}

pub(crate) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar_open(entries);
    out.resize(out.len() + 1024, 0);
    out
}

/// The mode of a file.
pub(crate) const REGULAR: u32 = 0o100_644;

/// cpio's "newc" of names, modes and data.
pub(crate) fn cpio(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, mode, data) in entries.iter().copied().chain([("TRAILER!!!", 0, &b""[..])]) {
        let (size, length) = (data.len(), name.len() + 1);
        out.extend(format!("070701{:08x}{mode:08x}{:032x}{size:08x}{:032x}{length:08x}{:08x}{name}\0", 1, 0, 0, 0).bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// An rpm package with a payload; its header bears a certificate, as one does whose scripts install it.
pub(crate) fn rpm(payload: &[u8]) -> Vec<u8> {
    let section = |store: &[u8]| {
        let length = u32::try_from(store.len()).unwrap().to_be_bytes();
        [&b"\x8e\xad\xe8\x01\0\0\0\0\0\0\0\x01"[..], &length, &[0; 16], store].concat()
    };
    let mut out = [&b"\xed\xab\xee\xdb\x03\0"[..], &[0; 90], &section(b"odd")].concat();
    out.resize(96 + (out.len() - 96).next_multiple_of(8), 0);
    [out, section(cert_pem().as_bytes()), payload.to_vec()].concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One entry of a zip made by hand, stored; what each of its two headers says may differ.
#[derive(Clone, Copy)]
pub(crate) struct Zipped<'a> {
    pub(crate) name: &'a str,
    pub(crate) listed: Option<&'a str>,
    pub(crate) data: &'a [u8],
    pub(crate) flags: u16,
}

pub(crate) fn zipped<'a>(name: &'a str, data: &'a [u8]) -> Zipped<'a> {
    Zipped { name, listed: Some(name), data, flags: 0 }
}

pub(crate) fn zip(entries: &[Zipped<'_>]) -> Vec<u8> {
    let short = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let long = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let (mut out, mut directory, mut count) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let size = [long(entry.data.len()), long(entry.data.len())].concat();
        if let Some(listed) = entry.listed {
            count += 1;
            directory.extend(
                [&b"PK\x01\x02\x14\0\x14\0"[..], &entry.flags.to_le_bytes(), &[0; 10], &size, &short(listed.len()), &[0; 12]].concat(),
            );
            directory.extend(long(out.len()));
            directory.extend(listed.as_bytes());
        }
        out.extend([&b"PK\x03\x04\x14\0"[..], &entry.flags.to_le_bytes(), &[0; 10], &size, &short(entry.name.len()), &[0; 2]].concat());
        out.extend(entry.name.as_bytes());
        out.extend(entry.data);
    }
    let start = out.len();
    out.extend(&directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &short(count), &short(count), &long(directory.len()), &long(start), &[0; 2]].concat());
    out
}
