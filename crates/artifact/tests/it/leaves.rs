//! Everything that is a certificate or a key, in all the files that people put them in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;

use artifact::{Limits, What};

use crate::support::{cert_pem, findings, have, key_pem, paper, sh, tar, word, words, words_of};

#[test]
fn pem_in_any_text() {
    let (cert, key) = (cert_pem(), key_pem());
    let indented: String = cert.lines().map(|line| format!("      {line}\n")).collect();
    let source: String = key.lines().map(|line| format!("  \"{line}\\n\" +\n")).collect();
    let check = |text: String, expected: &[&str]| {
        assert_eq!(words_of(text.as_bytes()), expected, "{text}");
        // The same at the end of a buffer, and over it.
        for before in [262_100, 262_144 - 100, 524_288 - 7] {
            let far = [vec![b' '; before], text.clone().into_bytes(), vec![b' '; 400_000]].concat();
            assert_eq!(words_of(&far), expected, "{before}: {text}");
        }
    };
    let one = &[": CN=one.example pem"][..];
    check(cert.clone(), one);
    check(cert.replace('\n', "\r\n"), one);
    check(format!("#!/bin/sh\ncat > x <<EOF\n{cert}EOF\n"), one);
    check(format!("spec:\n  ca: |\n{indented}  other: 1\n"), one);
    check(format!("{{\"ca\": \"{}\", \"n\": 1}}", cert.replace('\n', "\\n")), one);
    check(format!("{{\"ca\": \"{}\"}}", cert.replace('\n', "\\\\n")), one);
    check(format!("{{\"ca\": \"{}\"}}", cert.replace('\n', "\\n").replace('/', "\\/")), one);
    check(format!("var key =\n{source}  \"\";"), &[": clear PKCS#8 pem"]);
    check(format!("{key}\n{cert}{cert}"), &[": clear PKCS#8 pem", ": CN=one.example pem", ": CN=one.example pem"]);
    check("-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n".into(), &[]);
    check("sed '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/!d'".into(), &[]);
    check(cert.replace("CERTIFICATE", "CERTIFICATE REQUEST"), &[]);
    check(cert.lines().take(6).collect::<Vec<_>>().join("\n"), &[": ! broken-item"]);
    check(
        format!("{}{cert}", cert.lines().take(6).map(|line| format!("{line}\n")).collect::<String>()),
        &[": ! broken-item", ": CN=one.example pem"],
    );
    check(cert.replacen("MII", "MIIMII", 1), &[": ! broken-item"]);
}

#[test]
fn base64_in_secrets_and_elsewhere() {
    let (der, p8) = (STANDARD.encode(paper().certificate.der()), STANDARD.encode(paper().key.expose_pkcs8()));
    let (cert, key) = (cert_pem(), key_pem());
    let wrapped = |text: &str, width| text.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line) + "\n").collect::<String>();
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(words_of(text.as_bytes()), expected, "{text}");
        let far = [vec![b'\n'; 262_090], text.as_bytes().to_vec(), vec![b'\n'; 400_000]].concat();
        assert_eq!(words_of(&far), expected, "{text}");
    };
    let secret = format!("kind: Secret\ndata:\n  tls.crt: {}\n  tls.key: {}\n", STANDARD.encode(&cert), STANDARD.encode(&key));
    check(&secret, &[": CN=one.example pem", ": clear PKCS#8 pem"]);
    // Whatever stands before the PEM moves it within the groups of four.
    for before in 0..7 {
        let text = format!("\"{}\"", STANDARD.encode(format!("{}{cert}", &"# text\n"[7 - before..])));
        check(&text, &[": CN=one.example pem"]);
    }
    check(&wrapped(&STANDARD.encode(format!("{cert}{key}")), 76), &[": CN=one.example pem", ": clear PKCS#8 pem"]);
    check(&STANDARD.encode(STANDARD.encode(&cert)), &[]); // nothing says that it is base64 twice
    check(&format!("tls.crt: {der}\ntls.key: {p8}\n"), &[": CN=one.example base64", ": clear PKCS#8 base64"]);
    check(&format!("{{\"x5c\": [\"{der}\", \"{}\"]}}", der.replace('/', "\\/")), &[": CN=one.example base64", ": CN=one.example base64"]);
    check(&format!("<X509Certificate>\n{}</X509Certificate>", wrapped(&der, 64)), &[": CN=one.example base64"]);
    check(&format!("x{der}"), &[]);
    check(&der[..der.len() / 2], &[]);
}

#[test]
fn der_at_the_beginning_of_a_file() {
    let (certificate, key) = (paper().certificate.der(), paper().key.expose_pkcs8());
    let check = |bytes: &[u8], expected: &[&str]| assert_eq!(words_of(bytes), expected);
    check(certificate, &[": CN=one.example der"]);
    check(&[certificate, certificate].concat(), &[": CN=one.example der", ": CN=one.example der"]);
    check(&[certificate, b"\n"].concat(), &[": CN=one.example der"]);
    check(&[certificate, b"\n", cert_pem().as_bytes()].concat(), &[": CN=one.example der", ": CN=one.example pem"]);
    check(key, &[": clear PKCS#8 der"]);
    check(&certificate[..certificate.len() - 1], &[": ! broken-item"]);
    check(&[b"x", certificate].concat(), &[]);
    check(b"0.1.2", &[]);
    check(&tar(&[("a.der", certificate), ("b.key", key)]), &["!a.der: CN=one.example der", "!b.key: clear PKCS#8 der"]);
}

/// What real tools write.
#[test]
fn files_of_openssl() {
    if !have("openssl", "files of openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.pem"), cert_pem()).unwrap();
    fs::write(folder.path().join("k.pem"), key_pem()).unwrap();
    let check = |line: &str, expected: &[&str]| {
        sh(folder.path(), line);
        assert_eq!(words(&folder.path().join("x")), expected, "{line}");
        fs::remove_file(folder.path().join("x")).unwrap();
    };
    let cert7 = &[": CN=one.example pkcs7", ": CN=one.example pkcs7"][..];
    check("openssl crl2pkcs7 -nocrl -certfile c.pem -certfile c.pem -out x", cert7);
    check("openssl crl2pkcs7 -nocrl -certfile c.pem -certfile c.pem -outform DER -out x", cert7);
    check("openssl x509 -in c.pem -trustout -addtrust serverAuth -out x", &[": CN=one.example pem"]);
    check("openssl x509 -in c.pem -text -out x", &[": CN=one.example pem"]);
    let both = &[": CN=one.example pkcs12", ": clear PKCS#8 pkcs12"][..];
    check("openssl pkcs12 -export -in c.pem -inkey k.pem -passout pass: -out x", both);
    check("openssl pkcs12 -export -in c.pem -inkey k.pem -passout pass:changeit -out x", both);
    check("openssl pkcs12 -export -in c.pem -inkey k.pem -keypbe NONE -certpbe NONE -passout pass: -out x", both);
    check("openssl pkcs12 -export -in c.pem -inkey k.pem -keypbe NONE -certpbe NONE -nomac -passout pass: -out x", both);
    check("openssl pkcs12 -export -in c.pem -nokeys -passout pass: -out x", &[": CN=one.example pkcs12"]);
    check("openssl pkcs12 -export -in c.pem -inkey k.pem -passout pass:other -out x", &[": ! wrong-password"]);
    check("openssl pkcs12 -export -in c.pem -inkey k.pem -iter 3000000 -passout pass: -out x", &[": ! broken-item"]);
    check("openssl pkey -in k.pem -out x", &[": clear PKCS#8 pem"]);
    check("openssl pkcs8 -topk8 -nocrypt -in k.pem -outform DER -out x", &[": clear PKCS#8 der"]);
    check("openssl pkcs8 -topk8 -in k.pem -passout pass:x -out x", &[": encrypted PKCS#8 pem"]);
    check("openssl pkcs8 -topk8 -in k.pem -passout pass:x -outform DER -out x", &[": encrypted PKCS#8 der"]);
    check("openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in k.pem -passout pass:x -outform DER -out x", &[": encrypted PKCS#8 der"]);
    check("openssl ec -in k.pem -out x", &[": clear SEC1 pem"]);
    check("openssl ec -in k.pem -outform DER -out x", &[": clear SEC1 der"]);
    check("openssl ec -in k.pem -outform DER | base64 -w0 > x", &[": clear SEC1 base64"]);
    check("openssl ec -in k.pem -aes256 -passout pass:x -out x", &[": encrypted SEC1 pem"]);
    check("openssl genrsa -traditional -out x 2048", &[": clear PKCS#1 pem"]);
    check("openssl genrsa -traditional 2048 | openssl rsa -traditional -outform DER -out x", &[": clear PKCS#1 der"]);
    check("openssl genrsa -traditional -aes128 -passout pass:xxxx -out x 2048", &[": encrypted PKCS#1 pem"]);
    // Too weak to be used, and still somebody's key.
    check("openssl genrsa -out x 1024", &[": clear PKCS#8 pem"]);
    check("openssl ecparam -name secp256k1 -genkey -noout -out x", &[": clear SEC1 pem"]);
    check("openssl genpkey -algorithm ed25519 -out x", &[": clear PKCS#8 pem"]);
    check("openssl genpkey -algorithm ed25519 -outform DER | base64 > x", &[": clear PKCS#8 base64"]);
    check("openssl genpkey -algorithm x25519 -out x", &[": clear PKCS#8 pem"]);
    check("openssl pkey -in k.pem -pubout -out x", &[]);
    check("openssl req -new -key k.pem -subj /CN=x -out x", &[]);
    check("openssl req -new -key k.pem -subj /CN=x -outform DER -out x", &[]);
    check("openssl enc -aes256 -pbkdf2 -pass pass:x -in k.pem -out x", &[": ! encrypted"]);
}

#[test]
fn a_given_password_opens_and_the_key_counts_as_encrypted() {
    if !have("openssl", "passwords of PKCS#12") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.pem"), cert_pem()).unwrap();
    fs::write(folder.path().join("k.pem"), key_pem()).unwrap();
    sh(folder.path(), "openssl pkcs12 -export -in c.pem -inkey k.pem -passout pass:correct -out x");
    let path = folder.path().join("x");
    let with = |passwords: &[&str]| {
        findings(&path, &Limits::default(), passwords).0.iter().map(|one| word(one, &path.to_string_lossy())).collect::<Vec<_>>()
    };
    assert_eq!(with(&["wrong", "correct"]), [": CN=one.example pkcs12", ": encrypted PKCS#8 pkcs12"]);
    assert_eq!(with(&["wrong"]), [": ! wrong-password"]);
    let (found, _) = findings(&path, &Limits::default(), &["wrong"]);
    let What::Problem(problem) = &found[0].what else { panic!("{found:?}") };
    assert!(problem.detail.contains("any of the 1 given"), "{}", problem.detail);
    assert!(!format!("{found:?}").contains("correct"));
}

#[test]
fn keystores_of_java() {
    if !have("keytool", "keystores of Java") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.pem"), cert_pem()).unwrap();
    for (kind, form) in [("JKS", "jks"), ("JCEKS", "jceks")] {
        let store = format!("keytool -keystore x -storetype {kind} -storepass secret1");
        sh(folder.path(), &format!("rm -f x; {store} -importcert -noprompt -file c.pem -alias one 2>/dev/null"));
        sh(folder.path(), &format!("{store} -genkeypair -keypass secret1 -alias own -dname CN=own -keyalg EC 2>/dev/null"));
        let mut got = words(&folder.path().join("x"));
        got.sort();
        let expected =
            [format!(": CN=one.example {form} as one"), format!(": CN=own {form} as own"), format!(": encrypted {kind} {form} as own")];
        assert_eq!(got, expected);
    }
    sh(
        folder.path(),
        "rm x; keytool -genkeypair -storetype PKCS12 -keystore x -storepass changeit -alias own -dname CN=own -keyalg EC 2>/dev/null",
    );
    assert_eq!(words(&folder.path().join("x")), [": CN=own pkcs12", ": clear PKCS#8 pkcs12"]);
    sh(
        folder.path(),
        "rm x; keytool -importcert -noprompt -file c.pem -storetype PKCS12 -keystore x -storepass changeit -alias one 2>/dev/null",
    );
    assert_eq!(words(&folder.path().join("x")), [": CN=one.example pkcs12"]);
}

#[test]
fn keys_of_ssh() {
    if !have("ssh-keygen", "keys of OpenSSH") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sh(folder.path(), "ssh-keygen -q -t ed25519 -N '' -f a; ssh-keygen -q -t ed25519 -N secret1 -f b");
    assert_eq!(words(folder.path()), ["/a: clear OpenSSH pem", "/b: encrypted OpenSSH pem"]);
}
