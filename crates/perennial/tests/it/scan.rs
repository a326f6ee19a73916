//! `perennial scan` as people call it, against real listeners.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
};

use pki::{Certificate, PrivateKey, Time, build::Authority, key::KeyType};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::Value;

/// The day on which these tests judge, whatever the day on which they run.
const TODAY: &str = "2026-11-22T12:00:00Z";

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

struct Farm {
    root: Authority,
    issuer: Authority,
    folder: tempfile::TempDir,
}

impl Farm {
    fn new() -> Farm {
        let (from, until) = (time("2020-01-01T00:00:00Z"), time("2040-01-01T00:00:00Z"));
        let root = Authority::new("Test Root", from, until).unwrap();
        let issuer = root.intermediate("Test Issuer", from, until).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(root.certificate().der()));
        std::fs::write(folder.path().join("root.pem"), pem).unwrap();
        Farm { root, issuer, folder }
    }

    fn leaf(&self, names: &[&str], from: &str, until: &str) -> (Vec<Certificate>, PrivateKey) {
        let (leaf, key) = self.issuer.leaf(names, KeyType::EcdsaP256, time(from), time(until)).unwrap();
        (vec![leaf, self.issuer.certificate().clone()], key)
    }

    /// A call that trusts the test's root and judges at the test's day.
    fn scan(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command.arg("scan").args(["--rate", "0", "--ca"]).arg(self.folder.path().join("root.pem")).args(arguments);
        if !arguments.contains(&"--at") {
            command.args(["--at", TODAY]);
        }
        command
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// Base64 of RFC 4648 §4, for the one file that is needed here.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place <= chunk.len() { char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]) } else { '=' });
        }
    }
    text
}

/// Serves a chain on all of 127.0.0.0/8, on a port of the system's choice.
fn serve((chain, key): (Vec<Certificate>, PrivateKey)) -> u16 {
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let key = PrivateKeyDer::try_from(key.expose_pkcs8().to_vec()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    listen(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        // To the client's close_notify.
        let _ = std::io::copy(&mut tls, &mut std::io::sink());
    })
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// A port that refuses: bound and not listening for as long as the socket lives.
fn dead() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_good_target_has_every_fact_and_exit_0() {
    let farm = Farm::new();
    let chain = farm.leaf(&["one.example", "127.0.0.1"], "2026-11-01T00:00:00Z", "2027-10-31T23:59:59Z");
    let (leaf, issuer) = (chain.0[0].clone(), farm.issuer.certificate().clone());
    let target = format!("127.0.0.1:{}", serve(chain));
    let output = farm.scan(&["--json", &target]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let [line] = &objects(&output)[..] else { panic!("one line") };
    let expected = [
        ("target", Value::from(target.clone())),
        ("address", target.into()),
        ("ok", true.into()),
        ("error", Value::Null),
        ("standing", "ok".into()),
        ("not_before", "2026-11-01T00:00:00Z".into()),
        ("not_after", "2027-10-31T23:59:59Z".into()),
        ("remaining_seconds", (343 * 86_400 + 43_199).into()),
        ("earliest_not_after", "2027-10-31T23:59:59Z".into()),
        ("served_until", "2027-10-31T23:59:59Z".into()),
        ("fingerprint_sha256", leaf.fingerprint().to_string().into()),
        ("subject", "CN=one.example".into()),
        ("issuer", "CN=Test Issuer".into()),
        ("names", vec!["one.example", "127.0.0.1"].into()),
        ("verified", true.into()),
        ("verify_error", Value::Null),
        ("protocol", "TLSv1.3".into()),
        ("cipher", "TLS_AES_128_GCM_SHA256".into()),
        ("group", "X25519".into()),
        ("client_certificate_asked", false.into()),
        ("note", Value::Null),
        ("at", TODAY.into()),
    ];
    for (field, value) in expected {
        assert_eq!(line[field], value, "{field}");
    }
    let above = &line["chain"][1];
    assert_eq!(line["chain"].as_array().unwrap().len(), 2);
    assert_eq!(above["fingerprint_sha256"], issuer.fingerprint().to_string());
    assert_eq!((&above["subject"], &above["is_ca"]), (&"CN=Test Issuer".into(), &true.into()));
    assert_eq!(above["not_after"], "2040-01-01T00:00:00Z");
}

#[test]
fn standing_follows_the_policy_to_the_second() {
    let farm = Farm::new();
    let (from, until) = ("2026-01-01T00:00:00Z", "2026-12-31T23:59:59Z");
    let target = format!("127.0.0.1:{}", serve(farm.leaf(&["127.0.0.1"], from, until)));
    // 365 d: a notice below 180 d, an incident below 90 d; at the threshold itself nothing has happened yet, and the last second counts
    // as over.
    for (before_end, standing, code) in [
        (180 * 86_400 + 1, "ok", 0),
        (180 * 86_400, "ok", 0),
        (180 * 86_400 - 1, "notice", 1),
        (90 * 86_400, "notice", 1),
        (90 * 86_400 - 1, "incident", 1),
        (1, "incident", 1),
        (0, "expired", 1),
        (-1, "expired", 1),
    ] {
        let at = (time(until) - pki::Span::seconds(before_end)).to_string();
        let output = farm.scan(&["--json", "--at", &at, &target]);
        let line = &objects(&output)[0];
        assert_eq!((line["standing"].as_str(), output.status.code()), (Some(standing), Some(code)), "{before_end}");
        assert_eq!(line["remaining_seconds"], before_end);
    }
}

#[test]
fn what_is_wrong_is_named_and_exits_1() {
    let farm = Farm::new();
    let (from, until) = ("2026-11-01T00:00:00Z", "2027-10-31T23:59:59Z");
    let good = farm.leaf(&["one.example"], from, until);
    let alone = (vec![good.0[0].clone()], PrivateKey::from_der(good.1.expose_pkcs8()).unwrap());
    let stranger =
        Authority::new("Stranger", time(from), time(until)).unwrap().leaf(&["one.example"], KeyType::EcdsaP256, time(from), time(until));
    let stranger = stranger.map(|(leaf, key)| (vec![leaf], key)).unwrap();
    let early = farm.leaf(&["one.example"], "2026-12-01T00:00:00Z", until);
    let named = |port: u16| format!("one.example:{port}@127.0.0.1");
    for (served, target, code, standing) in [
        (good, &(|port| format!("two.example:{port}@127.0.0.1")) as &dyn Fn(u16) -> String, "wrong-name", "invalid"),
        (alone, &named, "incomplete-chain", "invalid"),
        (stranger, &named, "incomplete-chain", "invalid"),
        (early, &named, "not-yet-valid", "invalid"),
    ] {
        let target = target(serve(served));
        let output = farm.scan(&["--json", &target]);
        assert_eq!(output.status.code(), Some(1), "{target}");
        let line = &objects(&output)[0];
        assert_eq!((&line["ok"], &line["verified"]), (&true.into(), &false.into()), "{target}");
        assert_eq!((line["verify_error"]["code"].as_str(), line["standing"].as_str()), (Some(code), Some(standing)), "{line}");
    }
    let (_held, port) = dead();
    let output = farm.scan(&["--json", &format!("127.0.0.1:{port}"), "nobody.invalid"]);
    assert_eq!(output.status.code(), Some(1));
    let mut lines = objects(&output);
    lines.sort_by_key(|line| line["target"].to_string());
    assert_eq!(lines.len(), 2);
    for (line, blame, phase, address) in [(&lines[0], "peer", "connect", true), (&lines[1], "dns", "resolve", false)] {
        assert_eq!((&line["ok"], &line["standing"]), (&false.into(), &"unreachable".into()), "{line}");
        assert_eq!((line["error"]["blame"].as_str(), line["error"]["phase"].as_str()), (Some(blame), Some(phase)), "{line}");
        assert!(line["error"]["retry"].is_boolean() && line["not_after"].is_null() && line["address"].is_string() == address, "{line}");
    }
}

#[test]
fn an_intermediate_that_ends_sooner_sets_the_standing() {
    let farm = Farm::new();
    let issuer = farm.root.intermediate("Short Issuer", time("2026-01-01T00:00:00Z"), time("2026-12-01T00:00:00Z")).unwrap();
    let (leaf, key) = issuer.leaf(&["127.0.0.1"], KeyType::EcdsaP256, time("2026-11-01T00:00:00Z"), time("2027-10-31T23:59:59Z")).unwrap();
    let target = format!("127.0.0.1:{}", serve((vec![leaf, issuer.certificate().clone()], key)));
    let line = &objects(&farm.scan(&["--json", &target]))[0];
    assert_eq!((line["standing"].as_str(), line["served_until"].as_str()), (Some("incident"), Some("2026-12-01T00:00:00Z")), "{line}");
    assert_eq!(
        (line["earliest_not_after"].as_str(), line["not_after"].as_str()),
        (Some("2026-12-01T00:00:00Z"), Some("2027-10-31T23:59:59Z"))
    );
    let text = String::from_utf8(farm.scan(&[&target]).stdout).unwrap();
    assert!(text.contains("breaks sooner, 2026-12-01 00:00:00Z, with CN=Short Issuer"), "{text}");
}

#[test]
fn people_read_when_and_how_long_and_no_colours_in_a_pipe() {
    let farm = Farm::new();
    let served = farm.leaf(&["127.0.0.1"], "2026-01-01T00:00:00Z", "2027-02-22T20:29:53Z");
    let target = format!("127.0.0.1:{}", serve(served));
    let output = farm.scan(&["--at", "2026-11-23T20:29:53Z", &target]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.starts_with("notice "), "{text}");
    assert!(text.contains(&format!("{target} ")) && text.contains("expires 2027-02-22 20:29:53Z, in 91 d"), "{text}");
    assert!(!text.contains('\u{1b}'));
    assert_eq!(stderr(&output).trim_end(), "1 address: 1 notice");
}

#[test]
fn hostile_text_is_escaped_everywhere() {
    let farm = Farm::new();
    let (from, until) = ("2026-11-01T00:00:00Z", "2027-10-31T23:59:59Z");
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let options = pki::build::LeafOptions { common_name: Some("\u{1b}[2J\u{202e}evil\n<script>".into()), ..Default::default() };
    let leaf = farm.issuer.issue(&key, &["127.0.0.1"], time(from), time(until), &options).unwrap();
    let target = format!("127.0.0.1:{}", serve((vec![leaf, farm.issuer.certificate().clone()], key)));
    for form in [&["--json", &target][..], &[&target]] {
        let text = String::from_utf8(farm.scan(form).stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("evil"), "{text}");
    }
}

#[test]
fn lists_come_from_files_and_pipes_and_a_wrong_line_is_told() {
    let farm = Farm::new();
    let port = serve(farm.leaf(&["127.0.0.1", "127.0.0.2"], "2026-11-01T00:00:00Z", "2027-10-31T23:59:59Z"));
    let list = format!("# both\n\n127.0.0.1:{port}\r\n  127.0.0.2:{port}  # the second\n");
    let file = farm.file("list", &list);
    let output = farm.scan(&["--json", "--file", &file]);
    assert_eq!((output.status.code(), objects(&output).len()), (Some(0), 2), "{}", stderr(&output));

    let mut child = farm.command(&["--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What has been written is scanned before the pipe ends.
    for _ in 0..2 {
        writeln!(pipe, "127.0.0.1:{port}").unwrap();
        assert!(lines.next().unwrap().unwrap().contains("\"verified\":true"));
    }
    drop(pipe);
    assert!(lines.next().is_none() && child.wait().unwrap().success());

    let file = farm.file("wrong", &format!("127.0.0.1:{port}\nexample.com:nonsense\n127.0.0.2:{port}\n"));
    let output = farm.scan(&["--json", "--file", &file]);
    assert_eq!((output.status.code(), objects(&output).len()), (Some(2), 2));
    assert!(stderr(&output).contains("wrong, line 2: \"nonsense\" is not a port"), "{}", stderr(&output));
}

#[test]
fn a_wrong_call_exits_2_and_dials_nothing() {
    let farm = Farm::new();
    let empty = farm.file("empty", "# nothing\n");
    for (arguments, part) in [
        (&["gopher://example.com"][..], "unknown protocol"),
        (&["--file", "/nonexistent/list"], "/nonexistent/list"),
        (&["--file", &empty], "no targets"),
        (&["--ca", "/nonexistent/root.pem", "127.0.0.1"], "/nonexistent/root.pem"),
        (&["--ca", &empty, "127.0.0.1"], "--ca"),
        (&["--at", "yesterday", "127.0.0.1"], "--at"),
        (&["--concurrency", "0", "127.0.0.1"], "--concurrency"),
        (&["--offer", "dsa", "127.0.0.1"], "all, rsa, ecdsa"),
        (&[], "TARGET"),
    ] {
        let output = farm.scan(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let farm = Farm::new();
    let port = serve(farm.leaf(&["127.0.0.1"], "2026-11-01T00:00:00Z", "2027-10-31T23:59:59Z"));
    let mut command = farm.command(&["--json", "-"]);
    let mut child = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut pipe = child.0.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    writeln!(pipe, "127.0.0.1:{port}").unwrap();
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    // It notices at the next line, though its input goes on.
    while writeln!(pipe, "127.0.0.1:{port}").is_ok() && child.0.try_wait().unwrap().is_none() {
        thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.0.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn every_address_of_a_name_is_a_line() {
    let farm = Farm::new();
    let port = serve(farm.leaf(&["localhost"], "2026-11-01T00:00:00Z", "2027-10-31T23:59:59Z"));
    let output = farm.scan(&["--json", &format!("localhost:{port}")]);
    let lines = objects(&output);
    let hosts = std::fs::read_to_string(Path::new("/etc/hosts")).unwrap_or_default();
    let v6 = hosts.lines().any(|line| line.starts_with("::1") && line.split_whitespace().any(|word| word == "localhost"));
    assert_eq!(lines.len(), if v6 { 2 } else { 1 }, "{lines:?}");
    assert!(lines.iter().any(|line| line["address"] == format!("127.0.0.1:{port}") && line["verified"] == true), "{lines:?}");
}
