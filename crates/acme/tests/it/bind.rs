//! BIND as the name server of a zone that takes signed updates.

use std::process::Command;

use acme::dns::{Algorithm, Key, Updater};

use crate::process::{Peer, free_port, start};

pub(crate) const SECRET: &str = "MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";

pub(crate) struct Bind {
    pub(crate) peer: Peer,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Bind {
    /// `None` where it is not installed, which was said.
    pub(crate) fn start(test: &str) -> Option<Bind> {
        start(&format!("{test}: named"), once)
    }

    pub(crate) fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Writes to it, and looks at these servers.
    pub(crate) fn updater(&self, algorithm: Algorithm, servers: Vec<String>) -> Updater {
        let key = Key::parse(&format!("key-{}", algorithm.name()), algorithm, SECRET).unwrap();
        let allow = ["127.0.0.1"].into_iter().collect();
        Updater { server: self.server(), zone: "example.test".into(), key, servers, allow }
    }

    /// How many TXT records of ACME it has, by a transfer of the zone; asked by another program.
    pub(crate) fn records(&self) -> Option<usize> {
        let mut dig = Command::new("dig");
        dig.args(["@127.0.0.1", "-p", &self.port.to_string(), "example.test", "AXFR", "+noall", "+answer"]);
        let said = String::from_utf8(dig.output().ok()?.stdout).unwrap();
        assert!(said.contains("SOA"), "{said}");
        Some(said.lines().filter(|line| line.contains("_acme-challenge")).count())
    }
}

fn once() -> Result<Bind, Option<String>> {
    let folder = tempfile::tempdir().unwrap();
    let (port, at) = (free_port(), folder.path().display().to_string());
    let algorithms = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];
    let keys: String = algorithms.iter().map(|a| format!("key \"key-{a}\" {{ algorithm {a}; secret \"{SECRET}\"; }};\n")).collect();
    let grants: String = algorithms.iter().map(|a| format!("grant key-{a} zonesub TXT; ")).collect();
    let configuration = format!(
        "options {{ directory \"{at}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file \"{at}/pid\";\n\
         session-keyfile \"{at}/session.key\"; recursion no; dnssec-validation no; notify no; allow-transfer {{ any; }}; }};\n\
         controls {{ }};\n{keys}\
         zone \"example.test\" {{ type primary; file \"{at}/zone\"; update-policy {{ {grants} }}; }};\n"
    );
    let zone =
        "$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\n@ IN A 127.0.0.1\n* IN A 127.0.0.1\n";
    std::fs::write(folder.path().join("named.conf"), configuration).unwrap();
    std::fs::write(folder.path().join("zone"), zone).unwrap();
    let mut command = Command::new("named");
    command.arg("-g").arg("-c").arg(folder.path().join("named.conf"));
    let peer = Peer::start(&mut command, "running")?;
    if peer.said().contains("address in use") {
        return Err(Some(peer.said()));
    }
    Ok(Bind { peer, port, _folder: folder })
}
