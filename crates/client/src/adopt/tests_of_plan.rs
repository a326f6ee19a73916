#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;

use api::fleet::{Management, parse_at, write_with_notes};
use clap::Parser;
use proptest::prelude::*;

use super::tests::Memory;
use super::*;

const TODAY: &str = "2026-11-22T12:00:00Z";

fn today() -> Time {
    Time::parse(TODAY).unwrap()
}

fn leaf(names: &[&str], mark: u8) -> Leaf {
    Leaf {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        issuer: "CN=Example Issuing CA 3,O=Example Trust".into(),
        not_after: Time::parse("2027-02-22T20:29:53Z").unwrap(),
        fingerprint: Fingerprint::from_bytes([mark; 32]),
    }
}

fn place(host: &str, port: u16, server_name: Option<&str>) -> Found {
    Found {
        host: host.into(),
        port,
        protocol: Protocol::Tls,
        server_name: server_name.map(str::to_owned),
        source: format!("list:{port}"),
        declared: true,
    }
}

fn looked(found: usize, address: &str, result: Result<Leaf, &str>) -> Looked {
    Looked { found, address: address.parse().ok(), result: result.map_err(str::to_owned) }
}

#[test]
fn what_is_served_together_is_one_secret() {
    let reading = Reading {
        found: vec![
            place("europe.example.com", 443, None),
            place("10.0.0.7", 443, Some("blob.example.com")),
            place("dead.example.com", 443, None),
            place("dead.example.com", 8443, None),
            Found { declared: false, ..place("10.0.0.8", 443, None) },
            Found { declared: false, ..place("10.0.0.9", 443, None) },
            place("api.example.com", 443, None),
            place("never.example.com", 443, None),
            place("2001:db8::1", 443, None),
        ],
        stored: vec![
            Stored {
                name: "prod/blob".into(),
                names: vec![],
                issuer: "x".into(),
                not_after: today(),
                fingerprint: Fingerprint::from_bytes([1; 32]),
                source: "k.yaml:3".into(),
            },
            Stored {
                name: "prod/idle".into(),
                names: vec!["idle.example.com".into()],
                issuer: "x".into(),
                not_after: today(),
                fingerprint: Fingerprint::from_bytes([9; 32]),
                source: "k.yaml:9".into(),
            },
        ],
        remarks: vec![],
    };
    let wildcard = leaf(&["*.blob.example.com", "blob.example.com"], 1);
    let old = Leaf { not_after: Time::parse("2026-11-20T12:00:00Z").unwrap(), ..leaf(&["*.blob.example.com"], 2) };
    let looks = vec![
        looked(0, "192.0.2.3", Ok(old)),
        looked(0, "192.0.2.1", Ok(wildcard.clone())),
        looked(0, "192.0.2.2", Ok(wildcard.clone())),
        looked(0, "192.0.2.4", Err("connection refused")),
        looked(1, "10.0.0.7", Ok(wildcard)),
        looked(2, "", Err("no such name\n[[team]]")),
        looked(3, "192.0.2.9", Err("timed out")),
        looked(4, "10.0.0.8", Err("connection refused")),
        looked(5, "10.0.0.9", Ok(leaf(&["bad name", "email:x@example.com"], 3))),
        looked(6, "192.0.2.6", Ok(leaf(&["api.example.com"], 0x4a))),
        looked(8, "2001:db8::1", Ok(leaf(&["api.example.com"], 0x5b))),
        looked(77, "10.0.0.1", Ok(leaf(&[], 6))),
    ];
    let adopted = plan(&reading, &looks, "platform", today());
    let text = write_with_notes(&adopted.fleet, &adopted.notes);
    insta::assert_snapshot!(text, @r#"
    # Written by `perennial adopt` on 2026-11-22: 8 targets, 6 secrets.
    # Everything is external: somebody else renews it, and names and issuers are expected as they were seen.
    # Correct what is wrong, add teams, services and regions, and put it in place with `perennial apply`.
    # The baseline gathers whatever is bad on the first look in one incident.
    # 2 targets could not be seen; look for "could not be seen" below.
    #
    # Certificates in Kubernetes Secrets that no target was seen to show:
    #   prod/idle: idle.example.com; expires 2026-11-22T12:00:00Z, expired 0 s ago

    [fleet]
    default_owner = "platform"
    baseline = "2026-11-22"

    [[team]]
    name = "platform"
    contacts = [{ channel = "log" }]

    # one target; expires 2027-02-22T20:29:53Z, in 92 d 8 h
    # sha256 0303030303030303030303030303030303030303030303030303030303030303
    # also covers bad name, which no client can ask for
    # also covers email:x@example.com, which no client can ask for
    [[secret]]
    name = "10.0.0.9"
    kind = "certificate"
    management = "external"
    issuers = ["CN=Example Issuing CA 3,O=Example Trust"]

    # one target; expires 2027-02-22T20:29:53Z, in 92 d 8 h
    # sha256 4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a
    [[secret]]
    name = "api.example.com-4a4a4a4a"
    kind = "certificate"
    management = "external"
    names = ["api.example.com"]
    issuers = ["CN=Example Issuing CA 3,O=Example Trust"]

    # one target; expires 2027-02-22T20:29:53Z, in 92 d 8 h
    # sha256 5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b
    [[secret]]
    name = "api.example.com-5b5b5b5b"
    kind = "certificate"
    management = "external"
    names = ["api.example.com"]
    issuers = ["CN=Example Issuing CA 3,O=Example Trust"]

    # 2 targets, not seen; names are those that are asked for
    [[secret]]
    name = "dead.example.com"
    kind = "certificate"
    management = "external"
    names = ["dead.example.com"]

    # one target, not seen; names are those that are asked for
    [[secret]]
    name = "never.example.com"
    kind = "certificate"
    management = "external"
    names = ["never.example.com"]

    # 2 targets; expires 2027-02-22T20:29:53Z, in 92 d 8 h
    # sha256 0101010101010101010101010101010101010101010101010101010101010101
    # lies in Kubernetes Secret prod/blob (k.yaml:3)
    [[secret]]
    name = "wildcard.blob.example.com"
    kind = "certificate"
    management = "external"
    names = ["*.blob.example.com", "blob.example.com"]
    issuers = ["CN=Example Issuing CA 3,O=Example Trust"]

    # from list:443
    [[target]]
    name = "10.0.0.9:443"
    secret = "10.0.0.9"
    endpoint = "tls://10.0.0.9:443"

    # from list:443
    [[target]]
    name = "2001:db8::1:443"
    secret = "api.example.com-5b5b5b5b"
    endpoint = "tls://[2001:db8::1]:443"

    # from list:443
    [[target]]
    name = "api.example.com:443"
    secret = "api.example.com-4a4a4a4a"
    endpoint = "tls://api.example.com:443"

    # from list:443
    [[target]]
    name = "blob.example.com@10.0.0.7:443"
    secret = "wildcard.blob.example.com"
    endpoint = "tls://10.0.0.7:443"
    server_name = "blob.example.com"

    # from list:443
    # could not be seen; its certificate is expected to cover the name that is asked for
    # no certificate: no such name\u{a}[[team]]
    [[target]]
    name = "dead.example.com:443"
    secret = "dead.example.com"
    endpoint = "tls://dead.example.com:443"

    # from list:8443
    # could not be seen; its certificate is expected to cover the name that is asked for
    # no certificate: 192.0.2.9: timed out
    [[target]]
    name = "dead.example.com:8443"
    secret = "dead.example.com"
    endpoint = "tls://dead.example.com:8443"

    # from list:443
    # no certificate: 192.0.2.4: connection refused
    # 192.0.2.3 shows another certificate: 0202020202020202020202020202020202020202020202020202020202020202, expires 2026-11-20T12:00:00Z
    [[target]]
    name = "europe.example.com:443"
    secret = "wildcard.blob.example.com"
    endpoint = "tls://europe.example.com:443"

    # from list:443
    # not looked at
    [[target]]
    name = "never.example.com:443"
    secret = "never.example.com"
    endpoint = "tls://never.example.com:443"
    "#);
    assert_eq!(parse_at(&text, today().unix()).unwrap(), adopted.fleet);
    assert!(adopted.fleet.secrets.iter().all(|s| s.management == Management::External));

    // Neither the order of places nor that of answers matters.
    let mut turned = reading.clone();
    turned.found.reverse();
    let mut turned_looks: Vec<Looked> = looks.into_iter().filter(|l| l.found < 9).map(|l| Looked { found: 8 - l.found, ..l }).collect();
    turned_looks.reverse();
    assert_eq!(plan(&turned, &turned_looks, "platform", today()), adopted);
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    adopt: AdoptArgs,
}

fn args(words: &[&str]) -> AdoptArgs {
    Cli::try_parse_from(["perennial"].iter().chain(words)).unwrap().adopt
}

/// What a run said and wrote: its outcome or error, standard output, talk.
fn run_with(words: &[&str], files: &Memory) -> (Result<Outcome, RunError>, String, String) {
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let look = |found: &[Found]| {
        let see =
            |i: usize, f: &Found| looked(i, "192.0.2.1", if f.port == 443 { Ok(leaf(&[f.name()], 7)) } else { Err("connection refused") });
        found.iter().enumerate().map(|(i, f)| see(i, f)).collect()
    };
    let outcome = run(&args(words), today(), files, look, &mut out, &mut talk);
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
}

#[test]
fn a_run_writes_a_file_that_parses_and_is_not_replaced_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet.toml");
    let out = out.to_str().unwrap();
    let files = Memory::of(&[
        ("site.conf", "server { listen 443 ssl; listen 8443 ssl; server_name www.example.com *.example.com; }"),
        ("more", "www.example.com:443"),
    ]);
    let (outcome, data, talk) = run_with(&["site.conf", "--from", "list:more", "--owner", "web", "--out", out], &files);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.targets, outcome.unseen.len(), data.as_str()), (2, 1, ""));
    insta::assert_snapshot!(talk.replace(out, "fleet.toml"), @r#"
    site.conf:1: *.example.com is a pattern; add the names that it stands for by hand
    2 targets of 2 certificates written to fleet.toml; 1 could not be seen
    "#);
    let first = std::fs::read_to_string(out).unwrap();
    assert_eq!(parse_at(&first, today().unix()).unwrap(), outcome.fleet);
    assert!(first.contains("# from more:1, site.conf:1\n"), "{first}");

    let looks = Cell::new(0);
    let count = |_: &[Found]| {
        looks.set(looks.get() + 1);
        Vec::new()
    };
    let refused = run(&args(&["site.conf", "--out", out]), today(), &files, count, &mut Vec::new(), &mut Vec::new());
    assert!(matches!(refused, Err(RunError::Exists(_))), "{refused:?}");
    assert_eq!(looks.get(), 0, "nothing is dialled for a refusal");
    assert_eq!(std::fs::read_to_string(out).unwrap(), first);

    // Again, with force: the same input gives the same file.
    let (again, ..) = run_with(&["--from", "list:more", "site.conf", "--owner", "web", "--out", out, "--force"], &files);
    again.unwrap();
    assert_eq!(std::fs::read_to_string(out).unwrap(), first);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no part is left behind");
}

#[test]
fn standard_output_json_and_no_look() {
    let files = Memory::of(&[("hosts", "www.example.com\n")]);
    let (outcome, data, _) = run_with(&["hosts", "--range", "10.0.0.1:440-441", "--no-look", "--out", "-"], &files);
    assert_eq!(parse_at(&data, today().unix()).unwrap(), outcome.unwrap().fleet);
    assert_eq!(data.matches("# not looked at").count(), 3, "what nobody looked at is not dropped");

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("f.toml");
    let (outcome, data, _) = run_with(&["hosts", "--range", "10.0.0.1:440-441", "--json", "--out", out.to_str().unwrap()], &files);
    let json: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(json["targets"], 1, "what a range guessed at and nobody answers is dropped");
    assert_eq!(serde_json::from_value::<api::fleet::Fleet>(json["fleet"].clone()).unwrap(), outcome.unwrap().fleet);
}

#[test]
fn wrong_calls_say_what_to_do() {
    let files =
        Memory::of(&[("a.conf", "server {"), ("b.yaml", "a: [\n"), ("empty.conf", "server { listen 80; }"), ("hosts", "h.example")]);
    let said = |words: &[&str]| run_with(words, &files).0.unwrap_err().to_string();
    let all = [
        said(&[]),
        said(&["a.conf", "b.yaml", "missing", "--out", "-"]),
        said(&["empty.conf", "--out", "-"]),
        said(&["--from", "hosts", "--out", "-"]),
        said(&["--from", "iis:hosts", "--out", "-"]),
        said(&["hosts", "--owner", "two words", "--out", "-"]),
        said(&["hosts", "--json", "--out", "-"]),
        said(&["--range", "10.0.0.0/8:443", "--out", "-"]),
        said(&["hosts", "--out", "/nonexistent/fleet.toml"]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    name configurations, such as /etc/nginx/nginx.conf, or --range HOSTS:PORTS
    b.yaml:2:1: not valid YAML: while parsing a node, did not find expected node content
    missing:1:1: cannot be read: no such file
    a.conf:1:8: this block is never closed; add '}'
    nothing that serves a certificate was found; see the remarks above, or name places in a plain list
    --from hosts: write KIND:PATH
    --from: iis is not a kind of configuration; use one of prometheus, file-sd, blackbox, nginx, apache, haproxy, kubernetes, list
    --owner two words: use letters, digits and . _ - : @ + *
    --json and --out - both want standard output; choose a file for one of them
    --range 10.0.0.0/8:443 stands for 16777214 places, more than 1000000; split it
    /nonexistent/fleet.toml: No such file or directory (os error 2)
    "#);
}

fn hostile_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}\\.example", Just("*.example.com".to_owned()), "\\PC{0,300}", Just("a".repeat(250))]
}

proptest! {
    /// Whatever certificates say, what is written parses and says the same again.
    #[test]
    fn every_plan_is_a_valid_fleet(
        hosts in prop::collection::vec(("[a-c]\\.example", 1u16..4, prop::option::of("[a-c]\\.example"), any::<bool>()), 0..12),
        looks in prop::collection::vec((0usize..12, any::<[u8; 4]>(), prop::option::of((prop::collection::vec(hostile_name(), 0..4), 0u8..4, "\\PC{0,20}|[\\x00-\\x1f]{0,3}"))), 0..24),
    ) {
        let found: Vec<Found> = hosts.into_iter().map(|(host, port, name, declared)| Found { declared, ..place(&host, port, name.as_deref()) }).collect();
        let looks: Vec<Looked> = looks.into_iter().map(|(i, address, seen)| Looked {
            found: i,
            address: Some(address.into()),
            result: seen.map(|(names, mark, issuer)| Leaf { names, issuer, ..leaf(&[], mark) }).ok_or_else(|| "x\n[[y]]".to_owned()),
        }).collect();
        let reading = Reading { found, ..Reading::default() };
        let adopted = plan(&reading, &looks, "platform", today());
        let text = write_with_notes(&adopted.fleet, &adopted.notes);
        match parse_at(&text, today().unix()) {
            Ok(fleet) => prop_assert_eq!(fleet, adopted.fleet),
            Err(e) => prop_assert!(false, "{e:?}\n{text}"),
        }
    }
}
