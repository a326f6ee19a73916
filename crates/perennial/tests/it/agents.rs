//! A real agent at a real store: it joins by the string that a person carries, changes a real nginx, and production is seen serving it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use pki::Span;
use tokio::sync::oneshot;

use crate::harness::{
    World,
    nginx::Nginx,
    so, wait,
    world::{secret, target},
};

const NAME: &str = "shop.test.example";

/// An agent in a thread of its own, until it is dropped.
struct Agent {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Result<(), agent::Error>>>,
}

impl Agent {
    fn start(config: agent::Config, around: agent::Around) -> Agent {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime().block_on(agent::run(config, around, async {
                let _ = stopped.await;
            }))
        });
        Agent { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What the agent of these tests puts in place.
fn text(world: &World, address: std::net::SocketAddr) -> String {
    let folder = world.path().display();
    format!(
        "state = \"{folder}/agent\"\n[[install]]\nsecret = \"shop\"\ncombined = \"{folder}/nginx/127.0.0.1.pem\"\n\
         reload = {{ signal = \"HUP\", pid_file = \"{folder}/nginx/pid\" }}\nlook = {{ address = \"{address}\", server_name = \"{NAME}\" }}\n"
    )
}

/// The same, read, and where the agent says what it does.
fn configured(world: &World, address: std::net::SocketAddr) -> (agent::Config, agent::Around) {
    let mut around = agent::Around::here().unwrap();
    around.say = Arc::new(|what| {
        let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("agent: {what}\n").as_bytes());
    });
    (agent::config::parse(&text(world, address)).unwrap(), around)
}

/// Joins by the string that a person carries.
fn join(world: &World, config: &agent::Config, around: &agent::Around) -> (agent::state::State, api::agent::Invitation) {
    let string = world.ok(&["node", "join-token", "web-1"]);
    let invitation: api::agent::Invitation = string.trim().parse().unwrap();
    let state = agent::state::State::hold(&config.state, agent::seal::Lock::ModeAlone).unwrap();
    let identity = runtime().block_on(agent::join(&state, &invitation, false, around)).unwrap();
    assert_eq!(identity.node, "web-1");
    (state, invitation)
}

/// The agent says that it is installed, and the store saw it. Its word closes nothing: the store's own look does, and it comes at once.
fn seen(world: &World) {
    wait(60, "the agent reports it installed", || {
        let shown = world.one(&["node", "show", "web-1"]);
        so(shown.to_string().contains("\"installed\""), shown)
    });
    wait(60, "the store saw it", || {
        let ran = world.run(&["observe", "shop-1", "--wait"]);
        so(ran.code == 0, ran.out + &ran.err)
    });
}

#[test]
fn a_key_is_born_on_its_node_certified_and_served_and_lies_nowhere_else() {
    let mut world = World::sqlite("agents-born").with(&["--listen-agents", "127.0.0.1:0"]);
    world.start();
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    let test = "agents::a_key_is_born_on_its_node_certified_and_served_and_lies_nowhere_else";
    let Some(nginx) = Nginx::start(world.path(), &old, test) else { return };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], nginx.port));
    let place = target("shop", "shop-1", address, NAME).replace("roots = \"test\"", "roots = \"perennial-ca-eu-ca\"");
    let parts = format!(
        "[[region]]\nname = \"eu\"\n\n[[issuer]]\nname = \"eu-ca\"\nkind = \"internal\"\n\n{}renewal = \"automatic\"\nnames = [\"{NAME}\"]\n\
         issued_by = [\"eu-ca\"]\nlifetime = \"47d\"\n\n{}region = \"eu\"\nnodes = [\"web-1\"]\n\n\
         [[node]]\nname = \"web-1\"\nregion = \"eu\"\nsecrets = [\"shop\"]\n",
        secret("shop").trim_end().to_owned() + "\n",
        place.trim_end().to_owned() + "\n",
    );
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    let (phrase, root) = (world.file("phrase", "correct horse battery\n"), world.path().join("root.pem").display().to_string());
    world.ok(&["ca", "create", "eu-ca", "--permit", "test.example", "--root", &root, "--passphrase-file", &phrase]);

    let (config, around) = configured(&world, address);
    drop(join(&world, &config, &around));
    let running = Agent::start(config, around);
    seen(&world);
    drop(running);
    // What is served was issued by our CA for a key that lies beside it.
    let loaded = pki::load(&std::fs::read(world.path().join("nginx/127.0.0.1.pem")).unwrap(), None, pki::Limits::default()).unwrap();
    let leaf = &loaded.certificates[0];
    assert!(leaf.covers(NAME) && leaf.fingerprint().to_string() != old.fingerprint(), "{}", leaf.subject());
    assert!(loaded.keys[0].fits(leaf));
    // And there alone: neither the store nor its journal has one.
    let shown = world.one(&["cert", "show", "shop"]);
    let instance = &shown["versions"][0]["instances"][0];
    assert_eq!((instance["scope"].as_str(), instance["has_key"].as_bool()), (Some("web-1"), Some(false)), "{shown:#}");
    assert_eq!(instance["fingerprint_sha256"].as_str(), Some(leaf.fingerprint().to_string().as_str()));
    let journal: String = world.json(&["audit", "list", "--all"]).iter().map(ToString::to_string).collect();
    assert!(journal.contains("certificate.sent") && !journal.contains("key.sent"), "{journal}");
}

#[test]
fn a_key_that_arrived_was_journaled_before_whatever_happens_to_the_store_then() {
    let mut world = World::sqlite("agents-journal").with(&["--listen-agents", "127.0.0.1:0"]);
    world.start();
    let leaf = world.paper.leaf("new", &[NAME], Span::days(80));
    let parts =
        format!("[[region]]\nname = \"eu\"\n\n{}[[node]]\nname = \"web-1\"\nregion = \"eu\"\nsecrets = [\"shop\"]\n", secret("shop"));
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("shop", &leaf);
    let folder = world.path().display();
    let text = format!("state = \"{folder}/agent\"\n[[install]]\nsecret = \"shop\"\ncombined = \"{folder}/shop.pem\"\n");
    let config = agent::config::parse(&text).unwrap();
    let mut around = agent::Around::here().unwrap();
    drop(join(&world, &config, &around));
    // The moment the key is on the node, the store dies.
    let id = world.id().to_string();
    around.step = Arc::new(move |step| {
        if step == "brought" {
            assert!(std::process::Command::new("kill").args(["-KILL", &id]).status().unwrap().success());
        }
    });
    let all = runtime().block_on(agent::once(config, around));
    world.kill();
    let placed = pki::load(&std::fs::read(world.path().join("shop.pem")).unwrap(), None, pki::Limits::default()).unwrap();
    assert!(placed.keys[0].fits(&placed.certificates[0]), "{all:?}");
    world.start();
    let sent: Vec<_> = world.json(&["audit", "list", "--all"]).into_iter().filter(|entry| entry["action"] == "key.sent").collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].to_string().contains(&leaf.fingerprint().to_string()), "{sent:?}");
    assert_eq!(world.one(&["audit", "verify"])["intact"], true);
}

#[test]
fn a_node_joins_changes_its_nginx_and_is_seen_serving() {
    let mut world = World::sqlite("agents").with(&["--listen-agents", "127.0.0.1:0"]);
    world.start();
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    let new = world.paper.leaf("new", &[NAME], Span::days(80));
    let test = "agents::a_node_joins_changes_its_nginx_and_is_seen_serving";
    let Some(nginx) = Nginx::start(world.path(), &old, test) else { return };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], nginx.port));
    let place = target("shop", "shop-1", address, NAME);
    let parts = format!(
        "[[region]]\nname = \"eu\"\n\n{}{}region = \"eu\"\nnodes = [\"web-1\"]\n\n[[node]]\nname = \"web-1\"\nregion = \"eu\"\nsecrets = [\"shop\"]\n",
        secret("shop"),
        place.trim_end().to_owned() + "\n",
    );
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("shop", &new);

    let (config, around) = configured(&world, address);
    let (state, invitation) = join(&world, &config, &around);
    let refused = runtime().block_on(agent::join(&state, &invitation, true, &around)).unwrap_err();
    assert!(refused.to_string().contains("bad-token"), "once: {refused}");
    drop(state);

    let running = Agent::start(config.clone(), around.clone());
    seen(&world);
    let served = pki::load(&std::fs::read(world.path().join("nginx/127.0.0.1.pem")).unwrap(), None, pki::Limits::default()).unwrap();
    assert_eq!(served.certificates[0].fingerprint().to_string(), new.fingerprint());
    drop(running);

    // What the part that installs says is its claim. What another program read, under a token of its own, is evidence of its own kind.
    let methods = || {
        let shown = world.one(&["target", "show", "shop-1"]);
        let all = shown["observations"].as_array().unwrap().iter();
        all.map(|one| (one["method"].as_str().unwrap().to_owned(), one["fingerprint_sha256"].as_str().unwrap_or_default().to_owned()))
            .collect::<BTreeSet<_>>()
    };
    assert!(methods().iter().all(|(method, _)| method == "dialled"), "{:?}", methods());
    observed(&world, &text(&world, address), &new.fingerprint(), test, methods);

    // Another start of the same folder is no clone, and finds nothing to do.
    let mut again = agent::Around::here().unwrap();
    again.say = around.say;
    let all = runtime().block_on(agent::once(config, again)).unwrap();
    assert!(all.iter().all(agent::Standing::is_settled), "{all:?}");
}

/// `perennial-agent observe --report`, as another user would call it: it reads the files of this node and says so to the store.
fn observed(world: &World, config: &str, leaf: &str, test: &str, methods: impl Fn() -> BTreeSet<(String, String)>) {
    // Beside the program that these tests run; whoever builds the workspace has it.
    let program = PathBuf::from(env!("CARGO_BIN_EXE_perennial")).with_file_name("perennial-agent");
    if !program.is_file() {
        return crate::harness::skipped(&format!("{test}: perennial-agent is not beside the program; cargo build -p agent"));
    }
    let (config, token) = (world.file("observe.toml", format!("{config}target = \"shop-1\"\n")), world.path().join("owner.token"));
    world.ok(&["token", "create", "reader", "--role", "owner", "--team", "web", "--out", &token.display().to_string()]);
    let (server, ca) = (format!("https://{}", world.address), world.data.join("tls/ca.pem"));
    let observe = |token: &Path| {
        let mut command = Command::new(&program);
        command.args(["--config", &config, "observe", "--json", "--report", "--server", &server]).arg("--token-file").arg(token);
        command.arg("--ca").arg(&ca).output().unwrap()
    };
    let output = observe(&token);
    // It looks at whatever listens on this machine, and says by 1 if something of that is due: other tests have listeners, too.
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{told}");
    let read = ("agent-read".to_owned(), leaf.to_owned());
    assert!(methods().contains(&read), "{:?}", methods());
    // What it reads is not what production was seen to serve: nothing but a look from outside says that.
    assert!(methods().iter().any(|(method, _)| method == "dialled"));
    // Somebody who may only read has nothing to say.
    let viewer = world.path().join("viewer.token");
    world.ok(&["token", "create", "viewer", "--role", "viewer", "--out", &viewer.display().to_string()]);
    let output = observe(&viewer);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused with status 403"), "{}", String::from_utf8_lossy(&output.stderr));
}
