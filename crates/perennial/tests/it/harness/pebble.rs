//! pebble as the CA outside, with its own configuration and ports, and names that lead to this machine.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
};

use pki::{Span, build::Authority, key::KeyType};
use serde_json::json;

use super::{now, process::Running, skipped, so, wait};

pub(crate) struct Pebble {
    _processes: Vec<Running>,
    pub(crate) directory: String,
    /// What its API is trusted by.
    pub(crate) root: String,
    /// Where it looks for http-01.
    pub(crate) http: u16,
    log: std::path::PathBuf,
}

impl Pebble {
    /// `None` where it is not installed, which was said.
    pub(crate) fn start(folder: &Path, test: &str, environment: &[(&str, &str)]) -> Option<Pebble> {
        let folder = folder.join("pebble");
        std::fs::create_dir_all(&folder).unwrap();
        let (from, until) = (now() - Span::hours(1), now() + Span::days(1));
        let authority = Authority::new("API of pebble", from, until).unwrap();
        let (leaf, key) = authority.leaf(&["127.0.0.1"], KeyType::EcdsaP256, from, until).unwrap();
        let put = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            folder.join(name).display().to_string()
        };
        let [listen, management, http, tls, dns, names] = [(); 6].map(|()| free());
        let configuration = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"), "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": put("api.pem", &leaf.to_pem()), "privateKey": put("api.key", &key.expose_pem()),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let configuration = put("pebble.json", &configuration.to_string());
        let log = folder.join("log");
        let run = |command: &mut Command, log: &str| {
            let out = std::fs::File::create(folder.join(log)).unwrap();
            let err = out.try_clone().unwrap();
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map(Running)
        };
        let mut challtestsrv = Command::new("pebble-challtestsrv");
        challtestsrv.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        challtestsrv.args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{names}")]);
        let mut pebble = Command::new("pebble");
        pebble.args(["-strict", "-config", &configuration, "-dnsserver", &format!("127.0.0.1:{dns}")]);
        pebble.env("PEBBLE_WFE_NONCEREJECT", "50").env("PEBBLE_VA_ALWAYS_VALID", "0").envs(environment.iter().copied());
        let (Ok(first), Ok(second)) = (run(&mut challtestsrv, "names"), run(&mut pebble, "log")) else {
            skipped(&format!("perennial {test}: pebble missing"));
            return None;
        };
        for port in [names, listen] {
            wait(60, "pebble listens", || TcpStream::connect(("127.0.0.1", port)).map_err(|e| (e, std::fs::read_to_string(&log))));
        }
        let directory = format!("https://127.0.0.1:{listen}/dir");
        Some(Pebble { _processes: vec![first, second], directory, root: authority.certificate().to_pem(), http, log })
    }

    /// How often it said something.
    pub(crate) fn said(&self, what: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until it said something so often.
    pub(crate) fn says(&self, what: &str, times: usize) {
        wait(120, what, || so(self.said(what) >= times, std::fs::read_to_string(&self.log)));
    }
}

fn free() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
