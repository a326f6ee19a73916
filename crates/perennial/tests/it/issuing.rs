//! An internal CA from the command line, its certificates as OpenSSL's strictest mode sees them, requests by hand, revocation.

use std::process::{Command, Output, Stdio};

use crate::harness::{World, skipped, so, wait};

const FLEET: &str = r#"
[[issuer]]
name = "eu-ca"
kind = "internal"

[[secret]]
name = "front"
kind = "certificate"
service = "shop"
renewal = "automatic"
names = ["front.example.internal", "10.1.2.3"]
issued_by = ["eu-ca"]
keys = "store"
lifetime = "47d"

[[secret]]
name = "hand"
kind = "certificate"
service = "shop"
names = ["hand.example.com"]
"#;

fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// It says so and ends well.
fn good(arguments: &[&str]) -> String {
    let output = openssl(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "openssl {}\n{out}\n{err}", arguments.join(" "));
    out + &err
}

/// What lies in the store, past the server: chains are public.
fn chain_of(world: &World, name: &str) -> Vec<pki::Certificate> {
    let url = format!("sqlite:{}", world.data.join("perennial.db").display());
    let store = store::Store::open(&url, crate::harness::now(), || [0; 16]).unwrap();
    let instances = store
        .read(|tx| {
            let s = store::model::secret::by_name(tx, name)?.unwrap();
            store::model::secret::instances(tx, s.id, Some(s.newest_version))
        })
        .unwrap();
    let mut all = Vec::new();
    let mut rest = instances[0].chain.as_slice();
    while !rest.is_empty() {
        // DER with a length of two bytes, as certificates have it.
        let length = 4 + (usize::from(rest[2]) << 8) + usize::from(rest[3]);
        all.push(pki::Certificate::parse(rest[..length].to_vec()).unwrap());
        rest = &rest[length..];
    }
    all
}

#[test]
fn a_root_that_is_put_away_and_certificates_that_openssl_accepts() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("openssl");
    }
    let mut world = World::sqlite("issuing::a_root_that_is_put_away_and_certificates_that_openssl_accepts");
    world.start();
    world.apply(&world.fleet("{ channel = \"log\" }", FLEET));
    let phrase = world.file("phrase", "correct horse battery\n");
    let root = world.path().join("root.pem").display().to_string();
    let made = world.ends(
        0,
        &["ca", "create", "eu-ca", "--permit", "example.internal", "--permit", "10.0.0.0/8", "--root", &root, "--passphrase-file", &phrase],
    );
    assert!(made.err.contains("put it away") && made.err.contains("perennial-ca-eu-ca"), "{made:?}");
    // A root's file is never written over.
    let again = world.ends(2, &["ca", "create", "eu-ca", "--permit", "x.example", "--root", &root, "--passphrase-file", &phrase]);
    assert!(again.err.contains("not there yet"), "{again:?}");
    // OpenSSL opens it with the passphrase, and the store has nothing of its key.
    let shown = good(&["pkey", "-in", &root, "-passin", "pass:correct horse battery", "-noout", "-text_pub"]);
    assert!(shown.contains("P-384"), "{shown}");
    assert!(!openssl(&["pkey", "-in", &root, "-passin", "pass:wrong", "-noout"]).status.success());

    wait(60, "the certificate is issued by itself", || {
        let shown = world.one(&["cert", "show", "front"]);
        so(shown["versions"].as_array().is_some_and(|v| !v.is_empty()), shown)
    });
    let chain = chain_of(&world, "front");
    let leaf = world.file("leaf.pem", chain[0].to_pem());
    let issuing = world.file("issuing.pem", chain[1].to_pem());
    let root_only = world.file("root-only.pem", {
        let text = std::fs::read_to_string(&root).unwrap();
        text[text.find("-----BEGIN CERTIFICATE-----").unwrap()..].to_owned()
    });
    for name in [["-verify_hostname", "front.example.internal"], ["-verify_ip", "10.1.2.3"]] {
        let verify = ["verify", "-x509_strict", "-CAfile", &root_only, "-untrusted", &issuing, "-purpose", "sslserver"];
        good(&[&verify[..], &name, &[&leaf]].concat());
    }
    let text = good(&["x509", "-in", &issuing, "-noout", "-text"]);
    assert!(text.contains("pathlen:0") && text.contains("DNS:example.internal"), "{text}");

    // Renewed by hand, revoked, and the list says so.
    world.ok(&["cert", "renew", "front", "--reason", "a test"]);
    wait(60, "there is a second version", || {
        let shown = world.one(&["cert", "show", "front"]);
        so(shown["versions"].as_array().is_some_and(|v| v.len() == 2), shown)
    });
    world.ok(&["cert", "revoke", "front", "--version", "1", "--reason", "superseded", "--why", "a test"]);
    let list = world.path().join("list.crl").display().to_string();
    // OpenSSL leaves out the zero that keeps a number positive.
    let serial = chain[0].serial().to_uppercase().trim_start_matches("00").to_owned();
    wait(60, "the list names it", || {
        world.run(&["ca", "crl", "eu-ca", "--out", &list]);
        let text = openssl(&["crl", "-inform", "DER", "-in", &list, "-noout", "-text"]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        so(text.replace(':', "").to_uppercase().contains(&serial), text)
    });
    let both = world.file("both.pem", format!("{}{}", chain[1].to_pem(), std::fs::read_to_string(&root_only).unwrap()));
    let verified = good(&["crl", "-inform", "DER", "-in", &list, "-noout", "-CAfile", &both]);
    assert!(verified.contains("verify OK"), "{verified}");

    // Another issuing CA below the same root: at once with its file, or in two steps.
    world.ok(&["ca", "renew", "eu-ca", "--root", &root, "--passphrase-file", &phrase]);
    let csr = world.ok(&["ca", "renew", "eu-ca"]);
    assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{csr}");
    assert!(world.ends(1, &["ca", "renew", "eu-ca"]).err.contains("still waits"));
    let signed = world.ends(0, &["ca", "sign", "eu-ca", "--root", &root, "--passphrase-file", &phrase]);
    assert!(
        signed.err.contains("the root signs eu-ca issuing CA 3, key ") && signed.err.contains("limited to example.internal"),
        "{}",
        signed.err
    );
    // Nobody said again what it may certify: it is what it was.
    let renewed = world.file("renewed.pem", world.ok(&["ca", "show", "eu-ca", "--chain"]));
    let text = good(&["x509", "-in", &renewed, "-noout", "-text"]);
    assert!(text.contains("pathlen:0") && text.contains("DNS:example.internal"), "{text}");
    let all = world.json(&["ca", "show", "eu-ca"]);
    let states: Vec<&str> =
        all.iter().flat_map(|v| v.as_array().into_iter().flatten().chain([v])).filter_map(|c| c["state"].as_str()).collect();
    assert_eq!(states.iter().filter(|s| **s == "current").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|s| **s == "former").count(), 2, "{states:?}");
}

#[test]
fn by_hand_a_request_goes_out_and_an_answer_comes_back() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("openssl");
    }
    let mut world = World::sqlite("issuing::by_hand_a_request_goes_out_and_an_answer_comes_back");
    world.start();
    world.apply(&world.fleet("{ channel = \"log\" }", FLEET));
    let csr = world.ok(&["cert", "request", "hand", "--reason", "the year is over"]);
    let csr = world.file("hand.csr", csr);
    good(&["req", "-in", &csr, "-verify", "-noout"]);
    // The server dies between: the request and its key are there again.
    world.kill();
    world.start();
    let (ca, key) = (world.path().join("ca.pem").display().to_string(), world.path().join("ca.key").display().to_string());
    good(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &ca, "-days", "365", "-subj", "/CN=Some CA"]);
    let answer = world.path().join("answer.pem").display().to_string();
    good(&["x509", "-req", "-in", &csr, "-CA", &ca, "-CAkey", &key, "-copy_extensions", "copy", "-days", "90", "-out", &answer]);
    let whole = world.file("whole.pem", format!("{}{}", std::fs::read_to_string(&answer).unwrap(), std::fs::read_to_string(&ca).unwrap()));
    world.ok(&["cert", "answer", "hand", "--chain", &whole]);
    let shown = world.one(&["cert", "show", "hand"]);
    assert_eq!(shown["versions"].as_array().map(Vec::len), Some(1), "{shown:#}");
    assert!(world.ends(1, &["cert", "answer", "hand", "--chain", &whole]).err.contains("no request"));
    assert!(world.ok(&["cert", "requests", "hand"]).contains("answered as version 1"));
}
