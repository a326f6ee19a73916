//! One store under test: its folder, its database, its server, and the commands that are given to it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use serde_json::Value;

use super::{
    Paper,
    database::{Database, Kind},
    https::Api,
    paper::Pair,
    process::{Ran, Talking, program, run, signal},
};

/// Everything that belongs to one test. The server ends before its database goes.
pub(crate) struct World {
    server: Option<Talking>,
    pub(crate) address: SocketAddr,
    /// Options of the server besides those that it cannot do without.
    pub(crate) options: Vec<String>,
    /// The server's way to its key.
    pub(crate) key: Vec<String>,
    /// Variables of the server's environment.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) data: PathBuf,
    pub(crate) paper: Arc<Paper>,
    database: Database,
    folder: Arc<tempfile::TempDir>,
}

impl World {
    /// `None` where the database cannot be had, which was said.
    pub(crate) fn new(kind: Kind, test: &str) -> Option<World> {
        let database = Database::new(kind, test)?;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        Some(World {
            server: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            options: vec!["--rate".into(), "0".into()],
            key: vec!["--key-file".into(), path("kek.key").display().to_string()],
            variables: Vec::new(),
            data: path("data"),
            paper: Arc::new(Paper::new(folder.path())),
            database,
            folder: Arc::new(folder),
        })
    }

    pub(crate) fn sqlite(test: &str) -> World {
        World::new(Kind::Sqlite, test).unwrap()
    }

    /// A second server on the same database, with its own data folder, the same key, and the same people. It must end first.
    pub(crate) fn beside(&self) -> World {
        World {
            server: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            options: self.options.clone(),
            key: self.key.clone(),
            variables: Vec::new(),
            data: self.path().join("beside"),
            paper: Arc::clone(&self.paper),
            database: Database::Shared { url: self.database.url().to_owned() },
            folder: Arc::clone(&self.folder),
        }
    }

    /// The server that the database lies in, and its name there.
    pub(crate) fn database_server(&self) -> (postgres::Client, String) {
        let (server, name) = self.database.server();
        (postgres::Client::connect(server, postgres::NoTls).unwrap(), name.to_owned())
    }

    /// What the server is told of its database.
    pub(crate) fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Asks the database past the server.
    pub(crate) fn database(&self) -> postgres::Client {
        postgres::Client::connect(self.database.url(), postgres::NoTls).unwrap()
    }

    pub(crate) fn with(mut self, options: &[&str]) -> World {
        self.options.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the data folder, and says where.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn start(&mut self) {
        if let Err(why) = self.try_start() {
            panic!("{why}");
        }
    }

    /// The error is all that it said.
    pub(crate) fn try_start(&mut self) -> Result<(), String> {
        assert!(self.server.is_none());
        let mut command = program();
        command.args(["server", "--data"]).arg(&self.data);
        if !self.options.iter().any(|option| option == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(self.database.arguments()).args(&self.key).args(&self.options).envs(self.variables.iter().cloned());
        let mut server = Talking::start(&mut command).unwrap();
        let heard = server.hear("listens at https://");
        match heard {
            Ok(address) => {
                self.address = address.parse().unwrap();
                self.server = Some(server);
                Ok(())
            }
            Err(_) => {
                let status = server.ended(30);
                Err(format!("{status}: {}", server.said()))
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// The server's process.
    pub(crate) fn id(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// Sends a signal, and does not wait for what it does.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        let status = server.terminate();
        assert!(status.success(), "{status}: {}", server.said());
    }

    /// The server's log so far.
    pub(crate) fn log(&self) -> String {
        self.server.as_ref().map(Talking::said).unwrap_or_default()
    }

    /// A command of an operator beside the server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).env("HOME", self.path()).env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Runs it with the token of the data folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments).arg("--data").arg(&self.data))
    }

    /// It ends with `code`; what it said on both streams.
    pub(crate) fn ends(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "perennial {}\n{}\n{}\nserver: {}", arguments.join(" "), ran.out, ran.err, self.log());
        ran
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ends(0, arguments).out
    }

    /// Its answer as JSON, one value per line; whether something is due is not asked.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert!(ran.code < 2, "perennial {}\n{}\n{}\nserver: {}", arguments.join(" "), ran.out, ran.err, self.log());
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The one value that it answers.
    pub(crate) fn one(&self, arguments: &[&str]) -> Value {
        let mut all = self.json(arguments);
        assert_eq!(all.len(), 1, "{arguments:?}: {all:?}");
        all.remove(0)
    }

    /// The API, with the token of the data folder.
    pub(crate) fn api(&self) -> Api {
        let file = std::fs::read_to_string(self.data.join("client.toml")).unwrap();
        let token = file.lines().find_map(|l| l.strip_prefix("token = \"")).unwrap().trim_end_matches('"').to_owned();
        Api::new(self.address, &self.data.join("tls/ca.pem"), &token)
    }

    /// A fleet of one team with its contacts, a root set, and what the test adds.
    pub(crate) fn fleet(&self, contacts: &str, more: &str) -> String {
        format!(
            "[fleet]\ndefault_owner = \"web\"\n\n[[team]]\nname = \"web\"\ncontacts = [{contacts}]\n\n[[service]]\nname = \"shop\"\nteam = \"web\"\n\n\
             [[roots]]\nname = \"test\"\npem = '''\n{}'''\n\n{more}",
            self.paper.root_pem()
        )
    }

    /// Applies a fleet.
    pub(crate) fn apply(&self, fleet: &str) {
        let file = self.file("fleet.toml", fleet);
        self.ok(&["apply", "-f", &file]);
    }

    pub(crate) fn import(&self, secret: &str, pair: &Pair) {
        self.ok(&import(secret, pair).iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// The command that imports it.
pub(crate) fn import(secret: &str, pair: &Pair) -> Vec<String> {
    let (chain, key) = (pair.chain_file.display().to_string(), pair.key_file.display().to_string());
    ["cert", "import", secret, "--chain", &chain, "--key", &key, "--reason", "a test"].map(str::to_owned).to_vec()
}

/// A secret, and a target for it at an address, whose certificate is for `name`.
pub(crate) fn target(secret: &str, target: &str, address: SocketAddr, name: &str) -> String {
    format!(
        "[[target]]\nname = \"{target}\"\nsecret = \"{secret}\"\nservice = \"shop\"\nroots = \"test\"\nbackends = \"direct\"\n\
         endpoint = \"tls://{address}\"\nserver_name = \"{name}\"\n\n"
    )
}

pub(crate) fn secret(name: &str) -> String {
    format!("[[secret]]\nname = \"{name}\"\nkind = \"certificate\"\nservice = \"shop\"\n\n")
}
