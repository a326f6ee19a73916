//! The ways to TLS, walked with real servers of each protocol: what they present, and what is said where they have TLS switched off.

use std::{net::SocketAddr, path::Path};

use probe::{Blame, Offer, Phase, Protocol};

use crate::{
    peers::{Identity, Key, identity},
    programs::{Home, Peer, account, account_name, dial, installed, skipped, start},
};

/// Debian has it; no server needs more rights than to read its own folder.
const NOBODY: &str = "nobody";

/// Each offer is answered with the chain of the server, and nothing else.
fn presents(address: SocketAddr, protocol: Protocol, identity: &Identity) {
    let presented = dial(address, protocol, Offer::All).unwrap_or_else(|failure| panic!("{protocol:?}: {failure}"));
    assert!(presented.chain == identity.chain, "{protocol:?}: {} other certificates", presented.chain.len());
    assert!(matches!(presented.protocol, "TLSv1.3" | "TLSv1.2"), "{protocol:?}: {}", presented.protocol);
    // It has no RSA key, so this fails in the handshake: the words before it were understood.
    let failure = dial(address, protocol, Offer::RsaOnly).unwrap_err();
    assert_eq!(failure.phase, Phase::Handshake, "{protocol:?}: {failure}");
}

/// Somebody without TLS is to blame, says so, and need not be asked again.
fn refuses(address: SocketAddr, protocol: Protocol, part: &str) {
    let failure = dial(address, protocol, Offer::All).unwrap_err();
    assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::StartTls, Blame::Peer, false), "{protocol:?}: {failure}");
    assert!(failure.detail.contains(part), "{protocol:?}: {failure}");
}

#[test]
fn dovecot_by_imap_pop3_and_submission() {
    let test = "dovecot_by_imap_pop3_and_submission";
    let Some(dovecot) = installed(test, "dovecot-imapd", &["dovecot", "/usr/sbin/dovecot"]) else { return };
    for (package, login) in [("dovecot-imapd", "imap-login"), ("dovecot-pop3d", "pop3-login"), ("dovecot-submissiond", "submission-login")]
    {
        if installed(test, package, &[&format!("/usr/lib/dovecot/{login}"), &format!("/usr/libexec/dovecot/{login}")]).is_none() {
            return;
        }
    }
    let identity = identity(Key::Ecdsa);
    let account = account(NOBODY);
    let (user, group) = account_name(account);
    for ssl in ["required", "no"] {
        let home = Home::new(account, &identity);
        let (_peer, addresses) = start(|ports: [u16; 3]| {
            let logins: String = ["imap", "pop3", "submission"]
                .iter()
                .zip(ports)
                .map(|(name, port)| {
                    // Ports that are encrypted from the first byte are switched off.
                    format!(
                        "service {name}-login {{\nchroot =\ninet_listener {name} {{\nport = {port}\n}}\ninet_listener {name}s {{\nport = 0\n}}\n}}\n"
                    )
                })
                .collect();
            let text = format!(
                "base_dir = {run}\nstate_dir = {state}\nlog_path = /dev/stderr\nprotocols = imap pop3 submission\nlisten = 127.0.0.1\n\
                 default_internal_user = {user}\ndefault_login_user = {user}\ndefault_internal_group = {group}\n\
                 ssl = {ssl}\nssl_cert = <{pem}\nssl_key = <{key}\nhostname = mail.example\nsubmission_relay_host = 127.0.0.1\n\
                 service anvil {{\nchroot =\n}}\nservice stats {{\nchroot =\n}}\n{logins}\
                 passdb {{\ndriver = static\nargs = nopassword=y\n}}\nuserdb {{\ndriver = static\nargs = uid={user} gid={group} home={state}\n}}\n",
                run = home.folder("run"),
                state = home.folder("state"),
                pem = home.at("pem"),
                key = home.at("key"),
            );
            let mut command = home.command(&dovecot);
            command.args(["-F", "-c", &home.file("dovecot.conf", &text)]);
            command
        });
        let protocols = [(Protocol::Imap, "STARTTLS"), (Protocol::Pop3, "STLS"), (Protocol::Smtp, "STARTTLS")];
        for (address, (protocol, word)) in addresses.into_iter().zip(protocols) {
            if ssl == "no" { refuses(address, protocol, word) } else { presents(address, protocol, &identity) }
        }
    }
}

#[test]
fn exim_by_smtp() {
    let test = "exim_by_smtp";
    let Some(exim) = installed(test, "exim4-daemon-light", &["exim4", "/usr/sbin/exim4"]) else { return };
    // It listens only for root and for its own account.
    let Some(account) = account(NOBODY).and_then(|_| account("Debian-exim")) else {
        skipped(test, "exim4 starts for root only, who lends it its own account");
        return;
    };
    let identity = identity(Key::Ecdsa);
    let home = Home::new(Some(account), &identity);
    let run = |advertise: &str, key: &str| {
        start(|[port]| {
            let text = format!(
                "primary_hostname = mail.example\nspool_directory = {spool}\nlog_file_path = {spool}/%slog\npid_file_path = {spool}/pid\n\
                 tls_advertise_hosts = {advertise}\ntls_certificate = {pem}\ntls_privatekey = {key}\n\
                 keep_environment =\nhost_lookup =\nrfc1413_hosts =\n",
                spool = home.folder("spool"),
                pem = home.at("pem"),
            );
            let mut command = home.command(&exim);
            command.args(["-C", &home.file("exim.conf", &text), "-bdf", "-oX", &format!("127.0.0.1.{port}")]);
            command
        })
    };
    {
        let (_peer, [address]) = run("*", &home.at("key"));
        presents(address, Protocol::Smtp, &identity);
    }
    {
        let (_peer, [address]) = run("", &home.at("key"));
        refuses(address, Protocol::Smtp, "STARTTLS");
    }
    // It promises TLS and then has no key: the go-ahead is followed by no handshake, and that is not taken for one.
    let (_peer, [address]) = run("*", &home.at("nowhere"));
    let failure = dial(address, Protocol::Smtp, Offer::All).unwrap_err();
    assert!(matches!(failure.phase, Phase::StartTls | Phase::Handshake) && failure.blame != Blame::Local, "{failure}");
}

#[test]
fn slapd_by_ldap() {
    let Some(slapd) = installed("slapd_by_ldap", "slapd", &["slapd", "/usr/sbin/slapd"]) else { return };
    let identity = identity(Key::Ecdsa);
    let home = Home::new(account(NOBODY), &identity);
    let run = |tls: &str| {
        let file = home.file("slapd.conf", &format!("pidfile {}\nargsfile {}\n{tls}", home.at("pid"), home.at("args")));
        start(|[port]| {
            let mut command = home.command(&slapd);
            // In the foreground, silent.
            command.args(["-d", "0", "-f", &file, "-h", &format!("ldap://127.0.0.1:{port}")]);
            command
        })
    };
    {
        let pair = format!("TLSCertificateFile {}\nTLSCertificateKeyFile {}\nTLSVerifyClient never\n", home.at("pem"), home.at("key"));
        let (_peer, [address]) = run(&pair);
        presents(address, Protocol::Ldap, &identity);
    }
    let (_peer, [address]) = run("");
    refuses(address, Protocol::Ldap, "LDAP");
}

#[test]
fn mariadb_by_the_protocol_of_mysql() {
    let Some(mariadbd) = installed("mariadb_by_the_protocol_of_mysql", "mariadb-server-core", &["mariadbd", "/usr/sbin/mariadbd"]) else {
        return;
    };
    let identity = identity(Key::Ecdsa);
    let home = Home::new(account(NOBODY), &identity);
    let run = |name: &str, tls: &[String]| {
        // Not a database for anybody: it has no tables, asks for no password, and greets.
        let data = home.folder(name);
        start(|[port]| {
            let mut command = home.command(&mariadbd);
            command.args(["--no-defaults", "--skip-grant-tables", "--bind-address=127.0.0.1", "--innodb-log-file-size=4M"]);
            command.args([
                format!("--port={port}"),
                format!("--datadir={data}"),
                format!("--socket={data}/s"),
                format!("--pid-file={data}/pid"),
            ]);
            command.args(tls);
            command
        })
    };
    {
        let (_peer, [address]) = run("with", &[format!("--ssl-cert={}", home.at("pem")), format!("--ssl-key={}", home.at("key"))]);
        presents(address, Protocol::Mysql, &identity);
    }
    let (_peer, [address]) = run("without", &["--skip-ssl".to_owned()]);
    refuses(address, Protocol::Mysql, "TLS");
}

#[test]
fn prosody_by_xmpp() {
    let Some(prosody) = installed("prosody_by_xmpp", "prosody", &["prosody"]) else { return };
    let identity = identity(Key::Ecdsa);
    let home = Home::new(account(NOBODY), &identity);
    let (_peer, [address]) = start_prosody(&home, &prosody, "\"tls\", ");
    presents(address, Protocol::Xmpp, &identity);
    let (_peer, [address]) = start_prosody(&home, &prosody, "");
    refuses(address, Protocol::Xmpp, "TLS");
}

fn start_prosody(home: &Home, prosody: &Path, modules: &str) -> (Peer, [SocketAddr; 1]) {
    start(|[port]| {
        let text = format!(
            "pidfile = \"{data}/pid\"\ndata_path = \"{data}\"\ncertificates = \"{data}\"\nlog = {{ info = \"*console\" }}\n\
             interfaces = {{ \"127.0.0.1\" }}\nc2s_ports = {{ {port} }}\nc2s_require_encryption = false\nmodules_enabled = {{ {modules}\"saslauth\" }}\n\
             modules_disabled = {{ \"s2s\", \"tls_default\" }}\nVirtualHost \"one.example\"\n\
             ssl = {{ certificate = \"{pem}\", key = \"{key}\" }}\n",
            data = home.folder(&format!("data-{port}")),
            pem = home.at("pem"),
            key = home.at("key"),
        );
        let mut command = home.command(prosody);
        command.args(["--config", &home.file("prosody.cfg.lua", &text), "-F"]);
        command
    })
}
