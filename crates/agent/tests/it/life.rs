//! Joining, waiting, renewing, going on alone.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use agent::{Error, seal::Lock, state::State};
use api::agent::{Fault, InstallState, Keys, Material};
use pki::Time;

use crate::store::{NODE, Node, Running, Store, around, now, on};

#[test]
fn a_join_string_works_once_and_for_its_store_alone() {
    on(async {
        let store = Store::open().await;
        let (node, folder) = (Node::new(), Node::new());
        let other = Store::open().await;
        let invitation = store.invitation();
        let held = |node: &Node| State::hold(&node.at("state"), Lock::ModeAlone).unwrap();
        // Another store behind the same words: its authority is not the one that the person carried.
        let astray = api::agent::Invitation { store: other.address.to_string(), ..invitation.clone() };
        let error = agent::join(&held(&node), &astray, false, &around()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
        assert_eq!(other.book().joins, 0, "no token went there");
        let identity = agent::join(&held(&node), &invitation, false, &around()).await.unwrap();
        assert_eq!(identity.node, NODE);
        let error = agent::join(&held(&node), &invitation, false, &around()).await.unwrap_err();
        assert!(matches!(error, Error::Joined { .. }), "{error}");
        let error = agent::join(&held(&folder), &invitation, false, &around()).await.unwrap_err();
        assert!(error.to_string().contains("token-used"), "{error}");
        // Another identity, where the one before was taken back; what is known of manifests stays.
        (store.book().token, store.book().joined) = ("twice".into(), None);
        store.send("www", 1);
        agent::once(node.pair(""), around()).await.unwrap();
        let again = agent::join(&held(&node), &store.invitation(), true, &around()).await.unwrap();
        assert_ne!(again.chain, identity.chain);
        assert_eq!(State::look(&node.at("state"), Lock::ModeAlone).known().unwrap().unwrap().generation, 1);
    });
}

#[test]
fn a_new_version_is_heard_of_and_installed_within_a_second() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let one = store.send("www", 1);
        let _agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        assert_eq!(node.leaf("tls/www.pem"), one);
        // Now it waits in a long poll.
        while store.book().polls < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begun = tokio::time::Instant::now();
        let two = store.send("www", 2);
        let report = store.installed("www", 2).await;
        let took = begun.elapsed();
        assert_eq!((report.leaf.as_deref(), report.state), (Some(two.as_str()), InstallState::Unseen), "nothing is configured to look at");
        assert_eq!(node.leaf("tls/www.pem"), two);
        println!("told, fetched, installed and reported in {took:?}");
        // Another generation of the same is acted on too, and the store hears so.
        store.tell("www", 2, |install| (install.leaves, install.since) = (vec![two.clone()], 2));
        while store.book().reports.last().unwrap().generation != 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A step back is a new generation like any other, and needs no store: the version is still here.
        store.book().sent.clear();
        store.tell("www", 1, |_| ());
        store.installed("www", 1).await;
        assert_eq!(node.leaf("tls/www.pem"), one);
    });
}

#[test]
fn a_key_is_born_here_survives_restarts_and_is_never_born_again() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        store.book().not_yet = 2;
        store.tell("www", 1, |install| install.keys = Keys::Node);
        let agent = Running::start(node.pair(""), around());
        let waiting = store.reported("www", |report| report.state == InstallState::Fetching).await;
        assert!(waiting.detail.contains("the issuer thinks"), "{}", waiting.detail);
        agent.stop().await;
        let agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        agent.stop().await;
        let book = store.book();
        assert!(book.requests.len() >= 3, "{:?}", book.requests);
        assert!(book.requests.iter().all(|request| request == &book.requests[0]), "{:?}", book.requests);
        let key = pki::load(&std::fs::read(node.at("tls/www.key")).unwrap(), None, pki::Limits::default()).unwrap().keys.remove(0);
        assert_eq!(key.spki_fingerprint().to_string(), book.requests[0].2, "no key went anywhere");
    });
}

#[test]
fn a_store_that_is_gone_is_waited_for_and_what_is_here_goes_on() {
    on(async {
        let mut store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let one = store.send("www", 1);
        let agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        agent.stop().await;
        store.go_away().await;
        // Restarted without a store, with the files gone: what it keeps is enough.
        std::fs::remove_file(node.at("tls/www.key")).unwrap();
        let _agent = Running::start(node.pair(""), around());
        let key = node.at("tls/www.key");
        for _ in 0..2000 {
            if key.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(node.leaf("tls/www.pem"), one);
        assert!(key.exists());
        let two = store.send("www", 2);
        store.come_back().await;
        store.installed("www", 2).await;
        assert_eq!(node.leaf("tls/www.pem"), two);
    });
}

/// Seconds by which the clock of the next test is ahead.
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn shifted() -> Time {
    now() + pki::Span::seconds(AHEAD.load(Ordering::SeqCst))
}

#[test]
fn it_renews_what_it_lives_on_and_says_that_its_clock_is_off() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        store.book().identity_life = 300;
        node.join(&store).await;
        store.send("www", 1);
        let mut around = around();
        around.now = std::sync::Arc::new(shifted);
        let agent = Running::start(node.pair(""), around.clone());
        store.installed("www", 1).await;
        assert_eq!(store.book().renewals, 0, "more than a third is left");
        agent.stop().await;
        // 360 s in all; a third is 120 s. Later by 250 s there is less left, and the node's clock is off.
        AHEAD.store(250, Ordering::SeqCst);
        store.book().next_root = store.issuer.certificate().to_pem();
        let agent = Running::start(node.pair(""), around.clone());
        store.send("www", 2);
        store.installed("www", 2).await;
        agent.stop().await;
        assert!(store.book().renewals >= 1);
        // Whom the renewal named besides is believed from now on, so the store may change its authority.
        let roots = State::look(&node.at("state"), Lock::ModeAlone).identity().unwrap().unwrap().roots;
        assert!(roots.contains(store.issuer.certificate().to_pem().trim()), "{roots}");
        let report = store.book().reports.last().unwrap().clone();
        let clock = Time::parse(&report.clock).unwrap();
        assert!((clock - now()).as_secs() >= 245, "{clock}");
        let ahead = State::look(&node.at("state"), Lock::ModeAlone).contact().unwrap().ahead.unwrap();
        assert!((245..=255).contains(&ahead), "{ahead}");
        assert!(agent::clock::doubt(Some(ahead)).unwrap().contains("ahead of the store's"));
    });
}

#[test]
fn what_is_not_configured_or_may_not_be_installed_is_said_and_changes_nothing() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let one = store.send("www", 1);
        store.send("other", 1);
        let _agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        let report = store.reported("other", |report| report.state == InstallState::Unconfigured).await;
        assert!(report.detail.contains("no [[install]]"), "{}", report.detail);
        // Sent, but not among the leaves that the manifest names; for another name; not yet valid here.
        let refused = async |version: i64, from: Time, change: &dyn Fn(&mut api::agent::Install), expected: &str| {
            let (leaf, pair) = store.pair(&["www.example"], from, now() + pki::Span::days(9));
            store.book().sent.insert(("www".into(), version), Material { secret: "www".into(), version, pairs: vec![pair] });
            store.tell("www", version, |install| {
                install.leaves = vec![leaf.fingerprint().to_string()];
                change(install);
            });
            let report = store.reported("www", |report| report.detail.contains(expected)).await;
            assert_eq!((report.state, report.version), (InstallState::RolledBack, 1), "{}", report.detail);
            assert_eq!(node.leaf("tls/www.pem"), one);
        };
        let today = now() + pki::Span::hours(-1);
        refused(2, today, &|install| install.leaves = vec!["ab".repeat(32)], "none of those that the manifest names").await;
        refused(3, today, &|install| install.names.push("mail.example".into()), "does not cover mail.example").await;
        refused(4, now() + pki::Span::hours(1), &|_| (), "not yet valid: it begins").await;
    });
}

#[test]
fn a_rehearsed_stale_reload_is_found_by_the_look_and_put_back() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let server = crate::programs::Listener::start(&node.at("tls")).await;
        let more = format!(
            "reload = {{ command = [\"/bin/touch\", \"{{}}/tls/reload\"] }}\nlook = {{ address = \"{}\", within = \"1s\" }}",
            server.address
        );
        let one = store.send("www", 1);
        let _agent = Running::start(node.pair(&more), around());
        store.installed("www", 1).await;
        let two = store.keep("www", 2);
        store.tell("www", 2, |install| {
            install.leaves = vec![two.clone()];
            install.fault = Some(Fault::StaleReload);
        });
        let report = store.reported("www", |report| report.state == InstallState::RolledBack).await;
        assert!(report.detail.contains("does not serve the certificate within 1 s: it serves"), "{}", report.detail);
        assert_eq!((report.version, node.leaf("tls/www.pem")), (1, one));
        store.tell("www", 2, |install| install.leaves = vec![two.clone()]);
        assert_eq!(store.installed("www", 2).await.state, InstallState::Installed);
    });
}

#[test]
fn a_manifest_that_a_person_carried_is_believed_for_its_signature() {
    on(async {
        let mut store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let one = store.send("www", 1);
        let agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        agent.stop().await;
        let before = store.signed();
        let two = store.send("www", 2);
        store.go_away().await;
        let material = store.book().sent.values().filter(|material| material.version == 2).cloned().collect::<Vec<_>>();
        let apply = async |signed: &api::agent::SignedManifest, material: &[Material]| {
            agent::apply(node.pair(""), around(), signed, material).await.map(|all| all.iter().all(agent::Standing::is_settled))
        };
        let mut bent = store.signed();
        bent.signature = before.signature.clone();
        assert!(apply(&bent, &material).await.unwrap_err().to_string().contains("signature"));
        let (_, foreign) = store.pair(&["www.example"], now(), now() + pki::Span::days(9));
        let foreign = Material { secret: "www".into(), version: 2, pairs: vec![foreign] };
        assert!(apply(&store.signed(), &[foreign]).await.unwrap_err().to_string().contains("does not name the certificate"));
        assert_eq!(node.leaf("tls/www.pem"), one);
        assert!(!apply(&store.signed(), &[]).await.unwrap(), "its certificate is not here");
        assert!(apply(&store.signed(), &material).await.unwrap());
        assert_eq!(node.leaf("tls/www.pem"), two);
        let error = apply(&before, &[]).await.unwrap_err().to_string();
        assert!(error.contains("generation 1, and 2"), "{error}");
    });
}

#[test]
fn a_reload_that_hangs_is_ended_and_the_last_good_pair_is_back() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let server = crate::programs::Listener::start(&node.at("tls")).await;
        let script = "cd {}/tls; if [ -e hang ]; then rm hang; sleep 600; fi; touch reload";
        let more = format!(
            "reload = {{ command = [\"/bin/sh\", \"-c\", \"{script}\"], limit = \"500ms\" }}\nlook = {{ address = \"{}\", within = \"2s\" }}",
            server.address
        );
        let one = store.send("www", 1);
        let _agent = Running::start(node.pair(&more), around());
        store.installed("www", 1).await;
        std::fs::write(node.at("tls/hang"), "").unwrap();
        let two = store.send("www", 2);
        let report = store.reported("www", |report| report.state == InstallState::RolledBack).await;
        assert!(report.detail.contains("did not end within 0.5 s and was killed"), "{}", report.detail);
        assert_eq!((report.version, report.attempts, node.leaf("tls/www.pem")), (1, 1, one));
        // It stays visible until it is tried again, which nobody has to ask for.
        store.installed("www", 2).await;
        assert_eq!(node.leaf("tls/www.pem"), two);
    });
}

#[test]
fn under_a_credential_no_key_lies_in_the_clear_and_without_it_nothing_opens() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        let credentials = node.at("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(credentials.join(agent::seal::CREDENTIAL), [9; 32]).unwrap();
        let mut sealed = around();
        sealed.credentials = Some(credentials.clone());
        let state = State::hold(&node.at("state"), Lock::given(Some(&credentials)).unwrap()).unwrap();
        agent::join(&state, &store.invitation(), false, &sealed).await.unwrap();
        drop(state);
        store.send("www", 1);
        let agent = Running::start(node.pair(""), sealed);
        store.installed("www", 1).await;
        agent.stop().await;
        let key = store.book().sent.values().next().unwrap().pairs[0].key.clone().unwrap().0.clone();
        let mut folders = vec![node.at("state")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    assert!(!text.contains(&key) && !text.contains("\"plain\""), "{}", entry.path().display());
                    files += 1;
                }
            }
        }
        assert!(files > 4);
        let error = agent::once(node.pair(""), around()).await.unwrap_err().to_string();
        assert!(error.contains("is sealed under the credential"), "{error}");
    });
}

/// What the virtual hours of the next test begin at.
fn virtual_now(begun: tokio::time::Instant, from: Time) -> Time {
    from + pki::Span::seconds(i64::try_from(begun.elapsed().as_secs()).unwrap())
}

/// The clock is asked whenever the loop turns: so its questions are counted, in days in which nobody answers.
#[test]
fn a_store_that_is_gone_for_long_costs_an_agent_nothing() {
    for (what, days, days_off, place_fails) in
        [("gone", 8_u64, 0, false), ("clock far ahead", 1, 25, false), ("a place that failed", 1, 0, true)]
    {
        let (mut store, node) = on(async {
            let store = Store::open().await;
            store.book().identity_life = 30 * 86_400;
            let node = Node::new();
            node.join(&store).await;
            store.send("www", 1);
            (store, node)
        });
        let more = if place_fails { "reload = { command = [\"/bin/false\"] }" } else { "" };
        on(async {
            store.come_back().await;
            let _ = agent::once(node.pair(more), around()).await;
            if place_fails {
                // Nobody wants it any more: what failed is over, and its next try never comes.
                store.book().installs.clear();
                store.book().generation += 1;
                let _ = agent::once(node.pair(more), around()).await;
            }
            store.go_away().await;
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (begun, from) = (tokio::time::Instant::now(), now() + pki::Span::days(days_off));
            let turns = std::sync::Arc::new(AtomicI64::new(0));
            let (counted, mut around) = (turns.clone(), around());
            around.now = std::sync::Arc::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                virtual_now(begun, from)
            });
            agent::run(node.pair(more), around, tokio::time::sleep(Duration::from_secs(days * 86_400))).await.unwrap();
            let turns = turns.load(Ordering::SeqCst);
            // A look at its files every minute, a try to reach the store every few: a few questions each.
            let days = i64::try_from(days).unwrap();
            assert!((days * 288..days * 1440 * 12).contains(&turns), "{what}: {turns} in {days} days");
        });
    }
}

#[test]
fn one_reload_that_hangs_holds_up_no_other_secret_and_no_word_to_the_store() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        store.send("www", 1);
        store.send("api", 1);
        let lines = "[[install]]\nsecret = \"www\"\ncombined = \"{}/tls/www.pem\"\nreload = { command = [\"/bin/sleep\", \"600\"], limit = \"300s\" }\n\
                     [[install]]\nsecret = \"api\"\ncombined = \"{}/tls/api.pem\"\n";
        let agent = Running::start(node.config(lines), around());
        store.installed("api", 1).await;
        let hangs = store.reported("www", |report| report.state == InstallState::Fetching).await;
        assert!(hangs.detail.contains("under way"), "{}", hangs.detail);
        let two = store.send("api", 2);
        store.installed("api", 2).await;
        assert_eq!(node.leaf("tls/api.pem"), two);
        agent.stop().await;
    });
}

#[test]
fn places_that_reload_the_same_are_reloaded_once_and_fail_one_by_one() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let names = ["a", "b", "c"];
        let (log, bad) = (node.at("log").display().to_string(), node.at("bad").display().to_string());
        // It refuses its whole configuration while one of the files is bad, as nginx does.
        let script =
            format!("echo reload >> {log}; if [ -e {bad} ] && [ -s {{}}/tls/c.pem ]; then cmp -s {{}}/tls/c.pem {bad}; else true; fi");
        let reload = format!("reload = {{ command = [\"/bin/sh\", \"-c\", \"{script}\"] }}");
        let lines: String =
            names.iter().map(|name| format!("[[install]]\nsecret = \"www\"\ncombined = \"{{}}/tls/{name}.pem\"\n{reload}\n")).collect();
        let reloads = || std::fs::read_to_string(&log).unwrap().lines().count();
        store.send("www", 1);
        let all = agent::once(node.config(&lines), around()).await.unwrap();
        assert!(all.iter().all(|one| one.state == InstallState::Unseen), "{all:?}");
        assert_eq!(reloads(), 1, "three places, one reload");
        // Only the file of before passes: the new one of `c` is what cannot be read.
        std::fs::copy(node.at("tls/c.pem"), &bad).unwrap();
        store.send("www", 2);
        let all = agent::once(node.config(&lines), around()).await.unwrap();
        assert!(all.iter().all(|one| one.state == InstallState::RolledBack && one.version == 1), "{all:?}");
        assert_eq!(reloads(), 3, "one that fails, and one for the way back of all three");
    });
}

#[test]
fn a_folder_that_is_lost_is_made_again_and_never_called_rolled_back() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let one = store.send("www", 1);
        let lines = "[[install]]\nsecret = \"www\"\ncertificate = \"{}/run/www.pem\"\nkey = \"{}/run/www.key\"\n";
        agent::once(node.config(lines), around()).await.unwrap();
        std::fs::remove_dir_all(node.at("run")).unwrap();
        // While nothing can be written there, nothing is in place, and nothing else is said.
        std::fs::write(node.at("run"), "in the way").unwrap();
        let all = agent::once(node.config(lines), around()).await.unwrap();
        assert_eq!(all[0].state, InstallState::Failed, "{all:?}");
        std::fs::remove_file(node.at("run")).unwrap();
        let agent = Running::start(node.config(lines), around());
        store.installed("www", 1).await;
        assert_eq!(node.leaf("run/www.pem"), one);
        agent.stop().await;
    });
}

#[test]
fn a_number_of_a_restored_store_means_what_that_store_means_by_it() {
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        let agent = Running::start(node.pair(""), around());
        store.send("www", 1);
        store.installed("www", 1).await;
        let five = store.send("www", 5);
        store.installed("www", 5).await;
        assert_eq!(node.leaf("tls/www.pem"), five);
        agent.stop().await;
        // Restored from before version 5, it makes another one by that number, with a key that is born on the node.
        store.book().epoch = 2;
        store.tell("www", 5, |install| install.keys = Keys::Node);
        let agent = Running::start(node.pair(""), around());
        let report = store.reported("www", |report| report.leaf.as_ref().is_some_and(|leaf| *leaf != five)).await;
        assert_eq!((report.version, report.state), (5, InstallState::Unseen), "{}", report.detail);
        assert_eq!(store.book().requests.len(), 1);
        agent.stop().await;
    });
}

#[test]
fn files_belong_to_whom_the_configuration_names() {
    use std::os::unix::fs::MetadataExt as _;
    let Some((user, group)) = crate::programs::account("nobody") else {
        return crate::programs::skipped("files_belong_to_whom_the_configuration_names", "to be root");
    };
    on(async {
        let store = Store::open().await;
        let node = Node::new();
        node.join(&store).await;
        store.send("www", 1);
        let more = format!("owner = \"nobody\"\ngroup = \"{group}\"\nmode = \"0640\"");
        agent::once(node.pair(&more), around()).await.unwrap();
        for (name, mode) in [("tls/www.pem", 0o644), ("tls/www.key", 0o640)] {
            let meta = std::fs::metadata(node.at(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (user, group, mode), "{name}");
        }
        // Who cannot be found is said when there is something to write, and what lies there stays.
        let all = agent::once(node.pair("owner = \"no-such-user\""), around()).await.unwrap();
        assert!(all.iter().all(agent::Standing::is_settled), "what lies there is whole: {all:?}");
        store.send("www", 2);
        let all = agent::once(node.pair("owner = \"no-such-user\""), around()).await.unwrap();
        assert!(all[0].detail.contains("no user no-such-user in /etc/passwd"), "{all:?}");
        assert_eq!((all[0].state, all[0].version), (InstallState::RolledBack, 1));
    });
}
