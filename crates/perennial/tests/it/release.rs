//! `perennial release scan --offline` as people and pipelines call it.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use pki::{Authority, Certificate, KeyType, PrivateKey, Time};
use serde_json::Value;

const TODAY: &str = "2026-11-22T12:00:00Z";

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn leaf(until: &str) -> (Certificate, PrivateKey) {
    let (from, end) = (time("2020-01-01"), time("2040-01-01"));
    let root = Authority::new("Root", from, end).unwrap();
    root.leaf(&["one.example"], KeyType::EcdsaP256, from, time(until)).unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
    command.args(["release", "scan", "--offline", "--at", TODAY]).args(arguments).current_dir(folder);
    command
}

fn scan(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_good_certificate_has_every_fact_and_exit_0() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, _) = leaf("2027-02-22T20:29:53Z");
    fs::write(folder.path().join("a.txt"), format!("x\n{}", certificate.to_pem())).unwrap();
    let output = scan(folder.path(), &["--json", "a.txt"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let [line] = &lines(&output)[..] else { panic!("one line: {output:?}") };
    for (field, value) in [
        ("path", Value::from("a.txt")),
        ("kind", "certificate".into()),
        ("form", "pem".into()),
        ("standing", "ok".into()),
        ("finding", false.into()),
        ("accepted", false.into()),
        ("fingerprint_sha256", certificate.fingerprint().to_string().into()),
        ("spki_sha256", certificate.spki_fingerprint().to_string().into()),
        ("subject", "CN=one.example".into()),
        ("issuer", "CN=Root".into()),
        ("names", vec!["one.example"].into()),
        ("not_before", "2020-01-01T00:00:00Z".into()),
        ("not_after", "2027-02-22T20:29:53Z".into()),
        ("is_ca", false.into()),
        ("private_key", Value::Null),
        ("key", "ECDSA-P256".into()),
        ("offset", 2.into()),
        ("layer", Value::Null),
        ("problem", Value::Null),
        ("at", TODAY.into()),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
}

#[test]
fn keys_ends_and_broken_parts_are_findings_until_they_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (old, key) = leaf("2026-11-22T12:00:00Z");
    fs::write(folder.path().join("old.pem"), old.to_pem()).unwrap();
    fs::write(folder.path().join("key.pem"), key.expose_pem().as_bytes()).unwrap();
    fs::write(folder.path().join("bad.gz"), b"\x1f\x8b\x08\0").unwrap();
    let standing = |output: &Output| lines(output).iter().map(|line| line["standing"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let all = scan(folder.path(), &["--json", "."]);
    assert_eq!((all.status.code(), standing(&all)), (Some(1), ["problem", "clear-key", "expired"].map(str::to_owned).to_vec()));
    assert_eq!(lines(&all)[1]["private_key"], "clear");
    assert_eq!(lines(&all)[1]["spki_sha256"], lines(&all)[2]["spki_sha256"], "the key is that of the certificate");
    assert_eq!(lines(&all)[0]["problem"]["code"], "truncated");
    for one in ["old.pem", "key.pem", "bad.gz"] {
        assert_eq!(scan(folder.path(), &[one]).status.code(), Some(1), "{one}");
    }
    // A second earlier it is not yet over.
    let before = command(folder.path(), &["--json", "old.pem"]).args(["--at", "2026-11-22T11:59:59Z"]).output().unwrap();
    assert_eq!(before.status.code(), Some(2), "--at is given twice");
    let accepted = scan(folder.path(), &["--json", ".", "--accept", "truncated", "--accept", &old.spki_fingerprint().to_string()]);
    assert_eq!((accepted.status.code(), standing(&accepted).len()), (Some(0), 3), "{accepted:?}");
    assert!(lines(&accepted).iter().all(|line| line["accepted"] == true && line["finding"] == false));
    let other = scan(folder.path(), &["--json", ".", "--accept", "truncated", "--accept", &old.fingerprint().to_string()]);
    assert_eq!(other.status.code(), Some(1), "the certificate's own fingerprint does not accept the key");
}

/// What is recognised and not read is never passed over in silence, wherever it lies.
#[test]
fn what_is_not_read_ends_with_1_until_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let formats: [(&str, &[u8]); 7] = [
        ("7z", b"7z\xbc\xaf\x27\x1c"),
        ("rar", b"Rar!\x1a\x07"),
        ("cab", b"MSCF\0\0\0\0"),
        ("squashfs", b"hsqs"),
        ("lz4", b"\x04\x22\x4d\x18"),
        ("lzip", b"LZIP\x01"),
        ("xar", b"xar!\0"),
    ];
    for (format, magic) in formats {
        fs::write(folder.path().join("x"), [magic, &[0; 100]].concat()).unwrap();
        let told = scan(folder.path(), &["--json", "x"]);
        let [line] = &lines(&told)[..] else { panic!("{format}: {told:?}") };
        assert_eq!((told.status.code(), line["problem"]["code"].as_str(), &line["finding"]), (Some(1), Some("unsupported"), &true.into()));
        assert!(line["problem"]["detail"].as_str().unwrap().starts_with(&format!("{format} is not read; unpack it")), "{line}");
        let accepted = scan(folder.path(), &["--json", "x", "--accept", "unsupported"]);
        assert_eq!((accepted.status.code(), lines(&accepted).len()), (Some(0), 1), "{format}: it is still shown");
    }
}

#[test]
fn wrong_calls_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), b"x").unwrap();
    for arguments in
        [&["nowhere"][..], &[], &["x", "--accept", "nonsense"], &["x", "--password-file", "nowhere"], &["x", "--depth", "0"], &["-", "-"]]
    {
        let output = scan(folder.path(), arguments);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{arguments:?}: {output:?}");
    }
    let online = Command::new(env!("CARGO_BIN_EXE_perennial")).args(["release", "scan", "x"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(online.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&online.stderr).contains("--offline"));
}

#[test]
fn people_read_a_line_each_and_hostile_names_stay_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, _) = leaf("2027-02-22T20:29:53Z");
    fs::write(folder.path().join("\u{1b}[31m\nred.pem"), certificate.to_pem()).unwrap();
    let output = scan(folder.path(), &["."]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "ok            ./\\u{1b}[31m\\u{a}red.pem: CN=one.example, expires 2027-02-22T20:29:53Z, in 92 d 8 h\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("1 found: 1 ok; searched 1 file, "));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_image_comes_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, _) = leaf("2027-02-22T20:29:53Z");
    let mut child = command(folder.path(), &["--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(certificate.to_pem().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), lines(&output)[0]["path"].as_str()), (Some(0), Some("-")));
}
