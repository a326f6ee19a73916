//! SIGKILL at every step of an install: whatever was done, the next start goes on with it, and no reader ever sees half of a change.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{Around, seal::Lock, state::State};
use api::agent::InstallState;

use crate::{
    programs::Listener,
    store::{Node, Running, Store, around, leaf, on},
};

/// For the child: the step at which it ends itself, and its configuration.
const STEP: &str = "PERENNIAL_TEST_STEP";
const CONFIG: &str = "PERENNIAL_TEST_CONFIG";
/// A join string, where it is to join; and how far its clock is ahead, in seconds.
const STRING: &str = "PERENNIAL_TEST_STRING";
const AHEAD: &str = "PERENNIAL_TEST_AHEAD";

/// Not a test of its own: the process that is killed. Without its variables it does nothing.
#[test]
fn child_that_is_killed() {
    let (Ok(step), Ok(config)) = (std::env::var(STEP), std::env::var(CONFIG)) else { return };
    on(async {
        let config = agent::config::parse(&config).unwrap();
        let mut around = around();
        around.step = Arc::new(move |here| {
            if here == step {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
                std::thread::sleep(Duration::from_secs(60));
            }
        });
        if let Ok(seconds) = std::env::var(AHEAD) {
            let ahead = pki::Span::seconds(seconds.parse().unwrap());
            around.now = Arc::new(move || agent::clock::now() + ahead);
        }
        match std::env::var(STRING) {
            Ok(string) => {
                let state = State::hold(&config.state, Lock::ModeAlone).unwrap();
                let _ = agent::join(&state, &string.parse().unwrap(), false, &around).await;
            }
            Err(_) => drop(agent::once(config, around).await),
        }
    });
}

/// The names of the steps that this way passes.
async fn steps(config: &str) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut around: Around = around();
    let notes = Arc::clone(&seen);
    around.step = Arc::new(move |here| notes.lock().unwrap().push(here.to_owned()));
    agent::once(agent::config::parse(config).unwrap(), around).await.unwrap();
    let all: BTreeSet<String> = seen.lock().unwrap().iter().cloned().collect();
    all.into_iter().collect()
}

fn text(node: &Node, server: &Listener) -> String {
    let folder = node.folder.path().display();
    format!(
        "state = \"{folder}/state\"\n[[install]]\nsecret = \"www\"\ncertificate = \"{folder}/tls/www.pem\"\nkey = \"{folder}/tls/www.key\"\n\
         reload = {{ command = [\"/bin/touch\", \"{folder}/tls/reload\"] }}\nlook = {{ address = \"{}\", within = \"1s\" }}\n",
        server.address
    )
}

/// Reads the pair as a server does that holds the folder open, and fails where it does not fit.
fn fits(node: &Node) {
    let current = fs::canonicalize(node.at("tls/www.pem")).unwrap().parent().unwrap().to_owned();
    let load = |name: &str| pki::load(&fs::read(current.join(name)).unwrap(), None, pki::Limits::default()).unwrap();
    let (chain, key) = (load("fullchain.pem"), load("key.pem"));
    assert!(key.keys[0].fits(&chain.certificates[0]));
}

fn killed(config: &str, step: &str) -> bool {
    killed_with(config, step, &[])
}

fn killed_with(config: &str, step: &str, more: &[(&str, &str)]) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::child_that_is_killed", "--nocapture"]).env(STEP, step).env(CONFIG, config);
    tokio::task::block_in_place(|| command.envs(more.iter().copied()).output().unwrap().status.signal() == Some(9))
}

#[test]
fn killed_at_every_step_of_the_way_forward_and_of_the_way_back() {
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        node.join(&store).await;
        let server = Listener::start(&node.at("tls")).await;
        let config = text(&node, &server);
        let good = store.send("www", 1);
        let first = steps(&config).await;
        assert_eq!(leaf(&node.at("tls/www.pem")), good);
        for phase in ["Stage", "Switch", "Reload", "Look"] {
            assert!(first.iter().any(|step| step == &format!("before {phase}")), "{first:?}");
        }
        let mut version = 1;
        // What was taken over is not taken over again.
        for step in first.iter().filter(|step| *step != "own") {
            version += 1;
            let wanted = store.send("www", version);
            assert!(killed(&config, step), "{step}");
            fits(&node);
            steps(&config).await;
            assert_eq!(leaf(&node.at("tls/www.pem")), wanted, "after {step}");
            fits(&node);
            tidy(&node, &step.clone());
        }
        // A key that is born here is born once, whatever ends the agent.
        for step in ["born", "brought"] {
            version += 1;
            store.tell("www", version, |install| install.keys = api::agent::Keys::Node);
            assert!(killed(&config, step), "{step}");
            steps(&config).await;
            fits(&node);
            let book = store.book();
            let keys: BTreeSet<&String> = book.requests.iter().filter(|request| request.1 == version).map(|request| &request.2).collect();
            assert_eq!(keys.len(), 1, "after {step}: {:?}", book.requests);
        }
        // And back, because what serves was not told.
        let good = leaf(&node.at("tls/www.pem"));
        let stale = async |version: i64| {
            let wanted = store.keep("www", version);
            store.tell("www", version, |install| {
                install.leaves = vec![wanted.clone()];
                install.fault = Some(api::agent::Fault::StaleReload);
            });
        };
        version += 1;
        stale(version).await;
        let back: Vec<String> = steps(&config).await.into_iter().filter(|step| step.contains("Back")).collect();
        assert_eq!(back.len(), 10, "{back:?}");
        for step in &back {
            version += 1;
            stale(version).await;
            assert!(killed(&config, step), "{step}");
            fits(&node);
            let all = agent::once(agent::config::parse(&config).unwrap(), around()).await.unwrap();
            assert_eq!(all[0].state, InstallState::RolledBack, "after {step}: {all:?}");
            assert!(all[0].detail.contains("does not serve"), "{all:?}");
            assert_eq!(leaf(&node.at("tls/www.pem")), good, "after {step}");
            fits(&node);
        }
        // None of this is in the way of what comes next.
        version += 1;
        let wanted = store.send("www", version);
        let agent = Running::start(agent::config::parse(&config).unwrap(), around());
        store.installed("www", version).await;
        assert_eq!(leaf(&node.at("tls/www.pem")), wanted);
        agent.stop().await;
    });
}

/// Nothing half-written lies about once it is over.
fn tidy(node: &Node, step: &str) {
    let base = node.at("tls/.www.pem.perennial");
    let names: Vec<String> = fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 2, "after {step}: {names:?}");
}

#[test]
fn killed_while_what_lay_there_before_is_taken_over() {
    on(async {
        let store = Store::open().await;
        for (form, steps) in [
            ("pair", &["own", "kept", "led", "linked chain", "linked key", "staged", "after Switch"][..]),
            ("combined", &["own", "staged", "after Switch"]),
            ("directory", &["own", "staged", "after Switch"]),
        ] {
            for step in steps {
                let node = Node::new();
                (store.book().token, store.book().joined) = (format!("{form}{}", step.len()), None);
                node.join(&store).await;
                let folder = node.folder.path().display();
                let (place, chain) = match form {
                    "pair" => (format!("certificate = \"{folder}/tls/a.pem\"\nkey = \"{folder}/tls/a.key\""), "tls/a.pem"),
                    "combined" => (format!("combined = \"{folder}/tls/a.pem\""), "tls/a.pem"),
                    _ => (format!("directory = \"{folder}/tls\""), "tls/current/combined.pem"),
                };
                let config = format!("state = \"{folder}/state\"\n[[install]]\nsecret = \"www\"\n{place}\n");
                fs::create_dir(node.at("tls")).unwrap();
                let lies = ["tls/a.pem", "tls/a.key"].map(|name| node.at(name));
                if form != "directory" {
                    lies.iter().for_each(|path| fs::write(path, "by hand").unwrap());
                }
                let wanted = store.send("www", 1);
                assert!(killed(&config, step), "{form}: {step}");
                // Until the switch readers see the very bytes that lay there.
                if form != "directory" && *step != "after Switch" {
                    assert!(lies.iter().all(|path| fs::read_to_string(path).unwrap() == "by hand"), "{form}: {step}");
                }
                agent::once(agent::config::parse(&config).unwrap(), around()).await.unwrap();
                assert_eq!(leaf(&node.at(chain)), wanted, "{form}: {step}");
            }
        }
    });
}

#[test]
fn killed_while_it_gets_what_it_lives_on() {
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let config = format!("state = \"{}\"\n", node.at("state").display());
        let string = store.invitation().expose();
        store.book().identity_life = 300;
        for step in ["joining", "joined"] {
            assert!(killed_with(&config, step, &[(STRING, &string)]), "{step}");
        }
        // The same string again, with the same key: the answer that was lost comes once more.
        node.join(&store).await;
        let identity = || State::look(&node.at("state"), Lock::ModeAlone).identity().unwrap().unwrap();
        let before = identity();
        assert!(killed_with(&config, "renewed", &[(AHEAD, "250")]));
        assert_eq!(identity(), before, "what was not written down is asked for again");
        let mut around = around();
        around.now = Arc::new(|| agent::clock::now() + pki::Span::seconds(250));
        agent::once(agent::config::parse(&config).unwrap(), around).await.unwrap();
        assert_ne!(identity().chain, before.chain);
        assert_eq!(store.book().renewals, 2);
    });
}

/// A program stands in for systemd, in a view of the file system that only the child has.
#[test]
fn a_unit_is_reloaded_through_systemctl() {
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        node.join(&store).await;
        let (folder, instead, log) = (node.folder.path().display(), node.at("sbin"), node.at("log"));
        let config = format!(
            "state = \"{folder}/state\"\n[[install]]\nsecret = \"www\"\ncombined = \"{folder}/tls/a.pem\"\nreload = {{ unit = \"nginx.service\" }}\n"
        );
        fs::create_dir(&instead).unwrap();
        let systemctl = |end: &str| {
            fs::write(instead.join("systemctl"), format!("#!/bin/sh\necho \"$@\" >> {}\n{end}\n", log.display())).unwrap();
            fs::set_permissions(instead.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let once = || {
            let script = "mount --bind \"$1\" /usr/local/sbin && exec \"$2\" --exact kill::child_that_is_killed --nocapture";
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
            command.arg(&instead).arg(std::env::current_exe().unwrap()).env(STEP, "none").env(CONFIG, &config);
            tokio::task::block_in_place(|| command.output().is_ok_and(|output| output.status.success()))
        };
        systemctl("exit 0");
        let good = store.send("www", 1);
        if !once() {
            return crate::programs::skipped("a_unit_is_reloaded_through_systemctl", "the right to a view of the file system of its own");
        }
        assert_eq!(fs::read_to_string(&log).unwrap(), "reload nginx.service\n");
        assert_eq!(leaf(&node.at("tls/a.pem")), good);
        systemctl("echo Job for nginx.service failed; exit 1");
        store.send("www", 2);
        assert!(once());
        let report = store.reported("www", |report| report.state == InstallState::Failed).await;
        assert!(
            report.detail.contains("systemctl reload nginx.service ended with exit status: 1: Job for nginx.service failed"),
            "{report:?}"
        );
        assert_eq!(leaf(&node.at("tls/a.pem")), good, "the last good version is there for the next start");
    });
}
