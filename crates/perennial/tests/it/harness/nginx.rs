//! nginx with its own configuration, on one port of two addresses, with a certificate on each.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    paper::Pair,
    process::{Talking, signal},
    skipped,
};

/// The addresses that it listens on.
pub(crate) const ADDRESSES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];
/// How often a port is drawn: between drawing it and listening on it somebody else may take it.
const TRIES: usize = 20;

pub(crate) struct Nginx {
    process: Talking,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Nginx {
    /// `None` where it is not installed, which was said.
    pub(crate) fn start(folder: &Path, pair: &Pair, test: &str) -> Option<Nginx> {
        let folder = folder.join("nginx");
        std::fs::create_dir_all(&folder).unwrap();
        for address in ADDRESSES {
            put(&folder, address, pair);
        }
        let mut last = String::new();
        for _ in 0..TRIES {
            let Some(port) = free() else { continue };
            std::fs::write(folder.join("nginx.conf"), configuration(&folder, port)).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]).stdin(Stdio::null());
            // Debian keeps it where people's PATH does not look.
            command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
            let mut process = match Talking::start(&mut command) {
                Ok(process) => process,
                Err(_) => {
                    skipped(&format!("perennial {test}: nginx missing"));
                    return None;
                }
            };
            match process.hear("start worker process ") {
                Ok(_) => return Some(Nginx { process, folder, port }),
                Err(why) => last = why,
            }
        }
        panic!("nginx does not start: {last}");
    }

    /// Puts a certificate on one of its addresses, and reloads.
    pub(crate) fn put(&self, address: &str, pair: &Pair) {
        put(&self.folder, address, pair);
        signal(self.process.id(), "HUP");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only when it is asked.
        self.process.terminate();
    }
}

/// Staged beside and renamed, so that no reload sees half of it.
fn put(folder: &Path, address: &str, pair: &Pair) {
    let both = pair.chain_pem() + &pair.key.expose_pem();
    std::fs::write(folder.join("new"), both).unwrap();
    std::fs::rename(folder.join("new"), folder.join(format!("{address}.pem"))).unwrap();
}

/// A port that is free on both addresses.
fn free() -> Option<u16> {
    let first = TcpListener::bind((ADDRESSES[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    TcpListener::bind((ADDRESSES[1], port)).is_ok().then_some(port)
}

fn configuration(folder: &Path, port: u16) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    let servers = ADDRESSES.map(|address| {
        format!(
            "  server {{ listen {address}:{port} ssl; ssl_certificate {0}/{address}.pem; ssl_certificate_key {0}/{address}.pem; return 204; }}\n",
            folder.display()
        )
    });
    // The workers read nothing: the master reads the certificates before it gives up its rights.
    format!(
        "daemon off;\nworker_processes 1;\npid {}/pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}{}}}\n",
        folder.display(),
        servers.concat()
    )
}
