//! A region that is cut off in the middle of a rollout: a network of its own, a real nginx and a real agent process in it, and the wire pulled.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pki::Span;
use serde_json::Value;

use crate::harness::{
    World,
    paper::Pair,
    process::{PROGRAM, Talking, run, signal},
    skipped, so, wait,
    world::secret,
};

const NAME: &str = "shop.test.example";

/// A network of its own, with one wire to this one.
struct Network {
    name: String,
    wire: String,
    end: String,
    here: String,
    there: String,
}

impl Network {
    /// `None` where this machine does not let us, which was said.
    fn new(test: &str) -> Option<Network> {
        let id = std::process::id();
        let (name, wire, end) = (format!("perennial-{id}"), format!("pa{}", id % 100_000), format!("pb{}", id % 100_000));
        // TEST-NET-2 (RFC 5737): nobody else is there.
        let (here, there) = (String::from("198.51.100.1"), String::from("198.51.100.2"));
        let made = [
            vec!["netns", "add", &name],
            vec!["link", "add", &wire, "type", "veth", "peer", "name", &end],
            vec!["link", "set", &end, "netns", &name],
            vec!["addr", "add", "198.51.100.1/30", "dev", &wire],
            vec!["link", "set", &wire, "up"],
            vec!["-n", &name, "addr", "add", "198.51.100.2/30", "dev", &end],
            vec!["-n", &name, "link", "set", &end, "up"],
            vec!["-n", &name, "link", "set", "lo", "up"],
        ];
        for arguments in made {
            if let Err(why) = ip(&arguments) {
                let _ = ip(&["netns", "del", &name]);
                skipped(&format!(
                    "perennial {test}: no network of its own (ip {}: {why}); it needs iproute2 and root",
                    arguments.join(" ")
                ));
                return None;
            }
        }
        Some(Network { name, wire, end, here, there })
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).env("PATH", path());
        command
    }

    /// At the far end, since an address whose own wire is down is nobody's.
    fn cut(&self) {
        ip(&["-n", &self.name, "link", "set", &self.end, "down"]).unwrap();
    }

    fn mend(&self) {
        ip(&["-n", &self.name, "link", "set", &self.end, "up"]).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
        let _ = ip(&["link", "del", &self.wire]);
    }
}

pub(crate) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new("ip").args(arguments).env("PATH", path()).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()) }
}

/// The agent's program lies beside the other one, where the workspace was built.
pub(crate) fn agent() -> Option<PathBuf> {
    let path = Path::new(PROGRAM).with_file_name("perennial-agent");
    path.exists().then_some(path)
}

/// A machine: an nginx with its files, and its agent.
pub(crate) struct Machine {
    folder: PathBuf,
    pub(crate) nginx: Option<Talking>,
    pub(crate) agent: Option<Talking>,
}

impl Machine {
    pub(crate) fn start(world: &World, name: &str, address: &str, port: u16, pair: &Pair, within: &dyn Fn(&str) -> Command) -> Machine {
        let folder = world.path().join(name);
        std::fs::create_dir_all(folder.join("tmp")).unwrap();
        std::fs::write(folder.join("chain.pem"), pair.chain_pem()).unwrap();
        std::fs::write(folder.join("key.pem"), pair.key.expose_pem().as_bytes()).unwrap();
        let at = folder.display();
        let temporary: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|k| format!("{k}_temp_path {at}/tmp/{k};\n")).concat();
        let conf = format!(
            "daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
             server {{ listen {address}:{port} ssl; ssl_certificate {at}/chain.pem; ssl_certificate_key {at}/key.pem; return 204; }}\n}}\n"
        );
        std::fs::write(folder.join("nginx.conf"), conf).unwrap();
        let toml = format!(
            "state = \"{at}/agent\"\n[[install]]\nsecret = \"shop\"\ncertificate = \"{at}/chain.pem\"\nkey = \"{at}/key.pem\"\n\
             reload = {{ signal = \"HUP\", pid_file = \"{at}/pid\" }}\nlook = {{ address = \"{address}:{port}\", server_name = \"{NAME}\" }}\n"
        );
        std::fs::write(folder.join("agent.toml"), toml).unwrap();
        let mut machine = Machine { folder, nginx: None, agent: None };
        machine.serve(within);
        machine
    }

    /// Starts its nginx.
    pub(crate) fn serve(&mut self, within: &dyn Fn(&str) -> Command) {
        let mut command = within("nginx");
        command.arg("-p").arg(&self.folder).arg("-c").arg(self.folder.join("nginx.conf")).args(["-e", "stderr"]).env("PATH", path());
        let mut nginx = Talking::start(&mut command).unwrap();
        nginx.hear("start worker process ").unwrap();
        self.nginx = Some(nginx);
    }

    fn command(&self, within: &dyn Fn(&str) -> Command) -> Command {
        let mut command = within(&agent().unwrap().display().to_string());
        command.arg("--config").arg(self.folder.join("agent.toml"));
        command
    }

    pub(crate) fn join(&mut self, world: &World, name: &str, within: &dyn Fn(&str) -> Command) {
        let string = world.ok(&["node", "join-token", name]);
        let joined = run(self.command(within).args(["join", string.trim()]));
        assert_eq!(joined.code, 0, "{}{}", joined.out, joined.err);
        self.care(within);
    }

    /// Starts its agent, which has joined.
    pub(crate) fn care(&mut self, within: &dyn Fn(&str) -> Command) {
        self.agent = Some(Talking::start(self.command(within).arg("run")).unwrap());
    }

    /// SIGKILL to all that runs on it, the workers of nginx included: they outlive their master.
    pub(crate) fn die(&mut self) {
        let nginx = self.nginx.take().unwrap();
        let id = nginx.id();
        let workers = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        nginx.kill();
        for worker in workers.split_whitespace() {
            signal(worker.parse().unwrap(), "KILL");
        }
        self.agent.take().unwrap().kill();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for process in self.agent.iter_mut().chain(&mut self.nginx) {
            process.terminate();
        }
    }
}

#[test]
fn a_region_that_is_cut_off_halts_the_rest_and_nothing_is_lost() {
    let test = "regions::a_region_that_is_cut_off_halts_the_rest_and_nothing_is_lost";
    if agent().is_none() {
        return skipped(&format!("perennial {test}: perennial-agent is not built beside perennial (cargo build -p agent)"));
    }
    if Command::new("nginx").arg("-v").env("PATH", path()).output().is_err() {
        return skipped(&format!("perennial {test}: nginx missing"));
    }
    let Some(network) = Network::new(test) else { return };
    // Agents on both sides of the wire come in at one door.
    let mut world = World::sqlite("regions").with(&["--listen-agents", &format!("{}:0", network.here)]);
    world.start();
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    let new = world.paper.leaf("new", &[NAME], Span::days(80));
    let newer = world.paper.leaf("newer", &[NAME], Span::days(85));
    let port = free(&network.here);
    let here = |program: &str| Command::new(program);
    let there = |program: &str| network.command(program);
    let mut machines = [
        Machine::start(&world, "asia-1", &network.there, 8443, &old, &there),
        Machine::start(&world, "eu-1", &network.here, port, &old, &here),
    ];
    let mut parts = String::from(
        "[[rollout_policy]]\nname = \"regions\"\nregions = [\"eu\", \"asia\"]\npatience = \"1h\"\nwave = [{ of = \"region\" }, { of = \"rest\" }]\n\n",
    );
    parts += secret("shop").trim_end();
    parts += "\nrollout = \"regions\"\n\n";
    for (region, address, port) in [("eu", &network.here, port), ("asia", &network.there, 8443)] {
        parts += &format!(
            "[[region]]\nname = \"{region}\"\n\n[[node]]\nname = \"{region}-1\"\nregion = \"{region}\"\nsecrets = [\"shop\"]\n\n\
             [[target]]\nname = \"shop-{region}\"\nsecret = \"shop\"\nregion = \"{region}\"\nroots = \"test\"\nbackends = \"direct\"\n\
             offers = [\"all\"]\nnodes = [\"{region}-1\"]\nendpoint = \"tls://{address}:{port}\"\nserver_name = \"{NAME}\"\n\n"
        );
    }
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("shop", &old);
    machines[0].join(&world, "asia-1", &there);
    machines[1].join(&world, "eu-1", &here);
    served(&world, "shop-eu", 1);
    served(&world, "shop-asia", 1);

    // The wire is pulled before the version is there; the region that is not cut off gets it.
    network.cut();
    world.import("shop", &new);
    served(&world, "shop-eu", 2);
    let waits = wait(120, "the rollout says what it waits for", || {
        let shown = newest(&world);
        let says = shown["waits"].to_string();
        so(says.contains("shop-asia"), shown).map(|()| says)
    });
    assert!(waits.contains("shop-asia"), "{waits}");
    assert_eq!(newest(&world)["state"], "running", "nothing is given up");

    // The server dies meanwhile, and goes on where it was.
    world.options.retain(|o| !o.starts_with(&network.here));
    let door = world.log();
    let at = door.split("agents").nth(1).and_then(|rest| rest.split(&format!("{}:", network.here)).nth(1));
    let at: String = at.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    assert!(!at.is_empty(), "the server says where agents come in: {door}");
    world.options.push(format!("{}:{at}", network.here));
    world.kill();
    world.start();

    network.mend();
    served(&world, "shop-asia", 2);
    done(&world, 2);

    // And again, cut while the second region is on its way.
    world.import("shop", &newer);
    network.cut();
    served(&world, "shop-eu", 3);
    network.mend();
    served(&world, "shop-asia", 3);
    done(&world, 3);
}

/// A port that is free at an address.
pub(crate) fn free(address: &str) -> u16 {
    std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

fn newest(world: &World) -> Value {
    let list = world.api().get("/v1/rollouts?limit=1").body;
    let id = list["items"][0]["id"].as_i64().unwrap_or_default();
    world.api().get(&format!("/v1/rollouts/{id}")).body
}

fn done(world: &World, version: i64) {
    wait(120, "the rollout is done", || {
        let shown = newest(world);
        so(shown["version"] == version && shown["state"] == "done", shown)
    });
}

/// Waits until the store has seen a target serve a version.
fn served(world: &World, target: &str, version: i64) {
    wait(120, &format!("{target} is seen serving version {version}"), || {
        let detail = world.api().get(&format!("/v1/targets/{target}")).body;
        let secret = world.api().get("/v1/secrets/shop").body;
        let current = detail["required"].as_i64() > Some(0) && detail["current"] == detail["required"];
        so(secret["newest_version"] == version && current, detail)
    });
}
