//! Real peers, where they are installed; where one is missing the test says so, and fails if all peers are required.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

use probe::{Blame, Offer, Phase, Protocol};

use crate::{
    peers::{Key, identity},
    programs::{Home, Peer, account, dial, free_port, installed, start, wait_for},
};

#[test]
fn nginx_with_two_certificates_shows_the_one_that_was_asked_for() {
    let Some(nginx) = installed("nginx_with_two_certificates", "nginx", &["/usr/sbin/nginx", "nginx"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (rsa, ecdsa) = (identity(Key::Rsa), identity(Key::Ecdsa));
    for (name, identity) in [("rsa", &rsa), ("ecdsa", &ecdsa)] {
        fs::write(at(&format!("{name}.pem")), &identity.chain_pem).unwrap();
        fs::write(at(&format!("{name}.key")), &identity.key_pem).unwrap();
    }
    let (port, asking) = (free_port(), free_port());
    let certificates = format!(
        "ssl_certificate {0}; ssl_certificate_key {1}; ssl_certificate {2}; ssl_certificate_key {3};",
        at("rsa.pem"),
        at("rsa.key"),
        at("ecdsa.pem"),
        at("ecdsa.key")
    );
    let conf = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}
        http {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp}; uwsgi_temp_path {tmp}; scgi_temp_path {tmp};
        server {{ listen 127.0.0.1:{port} ssl; {certificates} }}
        server {{ listen 127.0.0.1:{asking} ssl; {certificates} ssl_verify_client on; ssl_client_certificate {ca}; }} }}",
        pid = at("pid"),
        tmp = at("tmp"),
        ca = at("ecdsa.pem"),
    );
    fs::write(at("conf"), conf).unwrap();
    let child = Command::new(nginx).args(["-c", &at("conf"), "-p", &at(""), "-e", "stderr"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut peer = Peer(child);
    let address = wait_for(port, &mut peer);
    for (offer, expected) in [(Offer::RsaOnly, &rsa), (Offer::EcdsaOnly, &ecdsa)] {
        let presented = dial(address, Protocol::Tls, offer).unwrap();
        assert_eq!(presented.chain, expected.chain, "{offer:?}");
        assert_eq!((presented.protocol, presented.aftermath), ("TLSv1.3", None));
    }
    // nginx asks for a client certificate, finishes the handshake without one, and complains inside.
    let presented = dial(wait_for(asking, &mut peer), Protocol::Tls, Offer::EcdsaOnly).unwrap();
    assert!(presented.client_certificate_asked);
    assert_eq!(presented.chain, ecdsa.chain);
}

#[test]
fn openssl_servers_old_and_odd() {
    let Some(openssl) = installed("openssl_servers_old_and_odd", "openssl", &["openssl"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |arguments: &[&str]| {
        let done = Command::new(&openssl).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    // A version 1 certificate, as `openssl x509 -req` makes it and internal servers have it.
    run(&["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=one.example", "-keyout", &at("key"), "-out", &at("csr")]);
    run(&["x509", "-req", "-in", &at("csr"), "-signkey", &at("key"), "-out", &at("pem"), "-days", "1"]);
    run(&["x509", "-in", &at("pem"), "-outform", "DER", "-out", &at("der")]);
    let serve = |arguments: &[&str]| {
        let port = free_port();
        let (accept, pem, key) = (format!("127.0.0.1:{port}"), at("pem"), at("key"));
        let mut child = Command::new(&openssl)
            .args(["s_server", "-accept", &accept, "-cert", &pem, "-key", &key])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says ACCEPT when it listens, and a connection made only to find that out would use one up.
        let lines = BufReader::new(child.stdout.take().unwrap());
        let ready = lines.lines().map_while(Result::ok).any(|line| line == "ACCEPT");
        assert!(ready, "s_server {arguments:?} does not accept");
        (Peer(child), SocketAddr::from(([127, 0, 0, 1], port)))
    };
    for (version, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (_peer, address) = serve(&[version, "-naccept", "1"]);
        let presented = dial(address, Protocol::Tls, Offer::All).unwrap();
        assert_eq!(presented.chain, [fs::read(at("der")).unwrap()], "{version}");
        assert_eq!(presented.protocol, protocol);
    }
    for (version, word) in [("-tls1", "TLS 1.1 or older"), ("-tls1_1", "TLS 1.1 or older")] {
        let (_peer, address) = serve(&[version, "-cipher", "ALL:@SECLEVEL=0"]);
        let failure = dial(address, Protocol::Tls, Offer::All).unwrap_err();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::Handshake, Blame::Tls, false), "{version}: {failure}");
        assert!(failure.detail.contains(word), "{version}: {failure}");
    }
    // Nothing in common: only a cipher with RSA key exchange.
    let (_peer, address) = serve(&["-tls1_2", "-cipher", "AES128-SHA"]);
    let failure = dial(address, Protocol::Tls, Offer::All).unwrap_err();
    assert!(failure.detail.contains("handshake_failure") && failure.blame == Blame::Tls, "{failure}");
}

#[test]
fn postgresql_upgrades_and_refuses() {
    let Some(initdb) = installed("postgresql_upgrades_and_refuses", "postgresql", &["/usr/lib/postgresql/*/bin/initdb", "initdb"]) else {
        return;
    };
    let identity = identity(Key::Ecdsa);
    // PostgreSQL will not run as root; as root, borrow the account that its package made.
    let home = Home::new(account("postgres"), &identity);
    let data = home.at("data");
    let done = home.command(&initdb).args(["-A", "trust", "--no-sync", "-U", "test", "-D", &data]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let certificates = [format!("ssl_cert_file={}", home.at("pem")), format!("ssl_key_file={}", home.at("key"))];
    for (ssl, expected) in [("ssl=on", Some(&identity.chain)), ("ssl=off", None)] {
        let (_peer, [address]) = start(|[port]| {
            let mut command = home.command(&initdb.with_file_name("postgres"));
            command.args(["-D", &data, "-c", ssl, "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")]);
            command.args(["-c", &certificates[0], "-c", &certificates[1], "-k", &home.at("")]);
            command
        });
        match (dial(address, Protocol::Postgres, Offer::All), expected) {
            (Ok(presented), Some(chain)) => assert_eq!(&presented.chain, chain),
            (Err(failure), None) => assert!(failure.detail.contains("TLS switched off"), "{failure}"),
            (other, _) => panic!("{ssl}: {other:?}"),
        }
    }
}
