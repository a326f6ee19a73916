//! Under load: clients shake hands all the time while the certificate is changed a hundred times, and not one handshake may fail.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use api::agent::InstallState;
use probe::{Dialer, Offer, Protocol, Settings, Target};

use crate::{
    programs::{Peer, account, command_as, installed, start},
    store::{Node, Running, Store, around, leaf, now, on},
};

/// How often the certificate is changed.
const ROTATIONS: i64 = 100;
/// Clients that shake hands all the time.
const CLIENTS: usize = 3;

/// Clients, and what they may be shown.
struct Load {
    /// Leaf → version.
    told: Arc<Mutex<BTreeMap<String, i64>>>,
    /// The latest version that the agent reported.
    confirmed: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<u64>>,
}

impl Load {
    fn start(address: SocketAddr, protocol: Protocol, first: String) -> Load {
        let told = Arc::new(Mutex::new(BTreeMap::from([(first, 0)])));
        let (confirmed, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let dialer = Dialer::new(Settings { rate_per_address: 0, ..Settings::default() }).unwrap();
        let client = || {
            let (told, confirmed, stop, dialer) = (Arc::clone(&told), Arc::clone(&confirmed), Arc::clone(&stop), dialer.clone());
            let target = Target {
                host: address.ip().to_string(),
                port: address.port(),
                server_name: Some("www.example".into()),
                protocol,
                address: Some(address.ip()),
            };
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    let before = confirmed.load(Ordering::SeqCst);
                    let presented = dialer.dial(&target, address.ip(), Offer::All).await.result;
                    let presented = presented.unwrap_or_else(|failure| panic!("handshake {count}, version {before}: {failure}"));
                    let shown = pki::Fingerprint::of(&presented.chain[0]).to_string();
                    let version = told.lock().unwrap().get(&shown).copied().unwrap_or_else(|| panic!("nobody knows {shown}"));
                    // A worker that is about to end may still answer with the version before.
                    assert!(version >= before - 1, "version {version} after {before} was confirmed");
                    count += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                count
            })
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        Load { told, confirmed, stop, clients }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = 0;
        for client in self.clients {
            all += client.await.unwrap();
        }
        all
    }
}

/// Files of a pair as somebody put them there before there was an agent. Answers with the leaf.
fn by_hand(store: &Store, place: &Place<'_>, account: Option<(u32, u32)>) -> String {
    let (certificate, pair) = store.pair(&["www.example"], now() + pki::Span::days(-1), now() + pki::Span::days(9));
    let base64 = &base64::engine::general_purpose::STANDARD;
    let key = base64::Engine::decode(base64, &pair.key.as_ref().unwrap().0).unwrap();
    let key = pki::PrivateKey::from_der(&key).unwrap().expose_pem();
    let chain = certificate.to_pem() + &store.issuer.certificate().to_pem();
    let write = |path: &Path, text: String| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = account {
            chown(path, Some(user), Some(group)).unwrap();
        }
    };
    match place {
        Place::Pair(certificate, path) => {
            write(certificate, chain);
            write(path, key.to_string());
        }
        Place::Combined(path) => write(path, chain + &key),
    }
    certificate.fingerprint().to_string()
}

enum Place<'p> {
    Pair(&'p Path, &'p Path),
    Combined(&'p Path),
}

/// Rotates under load, and says what came of it.
async fn rotate(what: &str, store: &Store, node: &Node, config: agent::Config, address: SocketAddr, protocol: Protocol, first: String) {
    node.join(store).await;
    let load = Load::start(address, protocol, first);
    let _agent = Running::start(config, around());
    let (begun, mut put_back) = (tokio::time::Instant::now(), 0);
    for version in 1..=ROTATIONS {
        // Known to the clients before anybody can present it.
        {
            let mut told = load.told.lock().unwrap();
            told.insert(store.send("www", version), version);
        }
        let report = tokio::select! {
            report = store.installed("www", version) => report,
            failed = store.reported("www", |report| matches!(report.state, InstallState::Failed | InstallState::RolledBack)) => {
                // HAProxy serves by its new worker a moment before its master takes the next signal: one that comes then is lost. The agent
                // sees that nothing changed, puts the last good version back, and tries again by itself.
                assert!(what == "HAProxy" && failed.detail.contains("does not serve the certificate"), "version {version}: {failed:?}");
                put_back += 1;
                store.installed("www", version).await
            }
        };
        assert_eq!(report.state, InstallState::Installed, "{report:?}");
        load.confirmed.store(version, Ordering::SeqCst);
    }
    let took = begun.elapsed();
    let handshakes = load.end().await;
    let line =
        format!("{what}: {ROTATIONS} rotations in {took:?}, {handshakes} handshakes, none failed, {put_back} put back and tried again\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    assert!(put_back * 10 <= ROTATIONS, "{put_back} were put back");
    assert!(handshakes >= 100, "{handshakes} handshakes are no load");
}

struct Nginx {
    _peer: Peer,
    address: SocketAddr,
    reload: String,
}

fn nginx(program: &PathBuf, node: &Node) -> Nginx {
    let conf = |port: u16| {
        format!(
            "daemon off; master_process on; worker_processes 2; pid {pid}; error_log {log}; events {{ worker_connections 1024; }}
            http {{ access_log off; client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp}; uwsgi_temp_path {tmp}; scgi_temp_path {tmp};
            server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key}; return 204; }} }}",
            pid = node.at("nginx.pid").display(),
            log = node.at("nginx.log").display(),
            tmp = node.at("tmp").display(),
            chain = node.at("tls/www.pem").display(),
            key = node.at("tls/www.key").display(),
        )
    };
    let (file, prefix) = (node.at("nginx.conf").display().to_string(), node.folder.path().display().to_string());
    let (peer, address) = start(|port| {
        fs::write(&file, conf(port)).unwrap();
        let mut command = Command::new(program);
        command.args(["-c", &file, "-p", &prefix, "-e", "stderr"]).stderr(Stdio::piped());
        command
    });
    let words = [program.display().to_string(), "-c".into(), file, "-p".into(), prefix, "-s".into(), "reload".into()];
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Nginx { _peer: peer, address, reload: format!("reload = {{ command = [{}] }}", words.join(", ")) }
}

#[test]
fn nginx_changes_a_hundred_times_under_load() {
    let Some(program) = installed("nginx_changes_a_hundred_times_under_load", "nginx", &["/usr/sbin/nginx", "nginx"]) else { return };
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let first = by_hand(&store, &Place::Pair(&node.at("tls/www.pem"), &node.at("tls/www.key")), None);
        let nginx = nginx(&program, &node);
        let look = format!("look = {{ address = \"{}\", server_name = \"www.example\" }}", nginx.address);
        let config = node.pair(&format!("{}\n{look}", nginx.reload));
        rotate("nginx", &store, &node, config, nginx.address, Protocol::Tls, first).await;
    });
}

#[test]
fn an_nginx_that_refuses_its_configuration_keeps_the_pair_that_it_serves() {
    let Some(program) = installed("an_nginx_that_refuses_its_configuration", "nginx", &["/usr/sbin/nginx", "nginx"]) else { return };
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        by_hand(&store, &Place::Pair(&node.at("tls/www.pem"), &node.at("tls/www.key")), None);
        let nginx = nginx(&program, &node);
        node.join(&store).await;
        let look = format!("look = {{ address = \"{}\" }}", nginx.address);
        let one = store.send("www", 1);
        let _agent = Running::start(node.pair(&format!("{}\n{look}", nginx.reload)), around());
        store.installed("www", 1).await;
        let good = fs::read_to_string(node.at("nginx.conf")).unwrap();
        fs::write(node.at("nginx.conf"), format!("{good} nonsense;")).unwrap();
        let two = store.send("www", 2);
        let report = store.reported("www", |report| report.state == InstallState::Failed).await;
        assert!(
            report.detail.contains("unknown directive") && report.detail.contains("putting the last good version back"),
            "{}",
            report.detail
        );
        assert_eq!(node.leaf("tls/www.pem"), one, "a restart of nginx finds what worked");
        fs::write(node.at("nginx.conf"), good).unwrap();
        // Nobody has to say anything: it is tried again.
        store.installed("www", 2).await;
        assert_eq!(node.leaf("tls/www.pem"), two);
    });
}

#[test]
fn haproxy_changes_a_hundred_times_under_load() {
    let Some(program) = installed("haproxy_changes_a_hundred_times_under_load", "haproxy", &["/usr/sbin/haproxy", "haproxy"]) else {
        return;
    };
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let pem = node.at("tls/www.pem");
        let first = by_hand(&store, &Place::Combined(&pem), None);
        let (file, pid) = (node.at("haproxy.cfg"), node.at("haproxy.pid"));
        let (peer, address) = start(|port| {
            let text = format!(
                "global\n stats socket {sock} mode 600 level admin expose-fd listeners\n hard-stop-after 5s\n ssl-default-bind-options ssl-min-ver TLSv1.2\n\
                 defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
                 frontend f\n bind 127.0.0.1:{port} ssl crt {folder}\n http-request return status 204\n",
                sock = node.at("sock").display(),
                folder = node.at("tls").display(),
            );
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&program);
            command.args(["-W", "-db", "-f", &file.display().to_string()]).stderr(Stdio::null());
            command
        });
        fs::write(&pid, peer.0.id().to_string()).unwrap();
        let lines = format!(
            "[[install]]\nsecret = \"www\"\ncombined = \"{{}}/tls/www.pem\"\nreload = {{ signal = \"USR2\", pid_file = \"{{}}/haproxy.pid\" }}\n\
             look = {{ address = \"{address}\", server_name = \"www.example\" }}\n"
        );
        let config = node.config(&lines);
        rotate("HAProxy", &store, &node, config, address, Protocol::Tls, first).await;
        assert_eq!(leaf(&pem).len(), 64);
    });
}

#[test]
fn postgresql_changes_a_hundred_times_under_load() {
    let test = "postgresql_changes_a_hundred_times_under_load";
    let Some(initdb) = installed(test, "postgresql", &["/usr/lib/postgresql/*/bin/initdb", "initdb"]) else { return };
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let account = account("postgres");
        // It runs as its own user, and comes through this folder.
        fs::set_permissions(node.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (pem, key, home) = (node.at("tls/www.pem"), node.at("tls/www.key"), node.at("home"));
        let first = by_hand(&store, &Place::Pair(&pem, &key), account);
        fs::create_dir(&home).unwrap();
        if let Some((user, group)) = account {
            chown(&home, Some(user), Some(group)).unwrap();
        }
        let data = home.join("data").display().to_string();
        let done = command_as(&initdb, account).args(["-A", "trust", "--no-sync", "-U", "test", "-D", &data]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let postgres = initdb.with_file_name("postgres");
        let (_peer, address) = start(|port| {
            let mut command = command_as(&postgres, account);
            let settings = [
                format!("port={port}"),
                "listen_addresses=127.0.0.1".into(),
                format!("unix_socket_directories={}", home.display()),
                "ssl=on".into(),
                format!("ssl_cert_file={}", pem.display()),
                format!("ssl_key_file={}", key.display()),
                "fsync=off".into(),
                "max_connections=50".into(),
            ];
            command.args(["-D", &data]).args(settings.iter().flat_map(|setting| ["-c", setting])).stderr(Stdio::piped());
            command
        });
        let owner = account.map(|(user, group)| format!("owner = \"{user}\"\ngroup = \"{group}\"\n")).unwrap_or_default();
        let config = node.pair(&format!(
            "{owner}mode = \"0600\"\nreload = {{ signal = \"HUP\", pid_file = \"{data}/postmaster.pid\" }}\nlook = {{ address = \"{address}\", protocol = \"postgres\" }}"
        ));
        rotate("PostgreSQL", &store, &node, config, address, Protocol::Postgres, first).await;
    });
}
