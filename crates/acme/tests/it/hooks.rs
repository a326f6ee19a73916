//! dns-01 by programs: one that works, with nsupdate, and some that do not.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use acme::{Error, Placed, Solver, Step, hook::Hook};

use crate::{
    bind::{Bind, SECRET},
    pebble::{Names, Pebble, Special},
    process::skipped,
    support::{drive, new_key, now, wanted},
};

/// A script with this body.
fn script(folder: &tempfile::TempDir, name: &str, body: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_program_writes_the_record() {
    if Command::new("nsupdate").arg("-V").output().is_err() {
        return skipped("a hook with nsupdate: not installed");
    }
    let Some(bind) = Bind::start("a hook") else { return };
    let Some(pebble) = Pebble::start("a hook", &Names::At(bind.port), 1, 1, &Special::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let body = format!(
        "echo \"$@ [$(env | cut -d= -f1 | sort | tr '\\n' ' ')] $(pwd)\" >>{}\n\
         case $1 in present) what=\"add $2. 60 TXT\";; cleanup) what=\"delete $2. TXT\";; *) exit 2;; esac\n\
         printf 'server 127.0.0.1 {}\\nzone example.test\\nupdate %s \"%s\"\\nsend\\n' \"$what\" \"$3\" |\n\
         nsupdate -y hmac-sha256:key-hmac-sha256:{SECRET}\n",
        log.display(),
        bind.port
    );
    let hook = Hook::new("zone", script(&folder, "hook", &body));
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let key = new_key();
    let (issued, _) = drive(&ca, &credentials, &wanted(&key, &["*.example.test", "example.test"]), &Solver::Hook(hook)).await.unwrap();
    assert!(key.fits(&issued.chain[0]) && issued.notes.is_empty(), "{:?}", issued.notes);
    assert_eq!(bind.records().unwrap_or(0), 0);
    let calls = std::fs::read_to_string(log).unwrap();
    assert!(calls.lines().all(|line| line.contains("_acme-challenge.example.test ")), "{calls}");
    // Nothing of the server's environment, and nothing that is called twice by two steps.
    assert!(calls.lines().all(|line| line.ends_with("[PATH PWD ] /") || line.ends_with("[PATH PWD SHLVL _ ] /")), "{calls}");
    let presents = calls.lines().filter(|line| line.starts_with("present ")).count();
    assert!(presents <= 2, "{calls}");
}

#[tokio::test]
async fn programs_that_fail_hang_and_babble() {
    let Some(pebble) = Pebble::start("failing hooks", &Names::Here, 1, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("survived");
    let hang = format!("(sleep 3; touch {}) & sleep 600", marker.display());
    let cases = [
        ("fails", "printf 'the zone is \\033[31mlocked' >&2; exit 3", "ended with status 3: the zone is \\u{1b}[31mlocked"),
        ("babbles", "yes babble | head -c 3000000; exit 1", "babble"),
        ("dies", "kill -9 $$", "ended by a signal"),
        ("hangs", hang.as_str(), "took longer than 1 s and was killed"),
    ];
    let step = async |hook: Hook, url: Option<&str>| {
        let placed = url.map(|url| Placed { url, since: now() });
        ca.advance(&credentials, &wanted, &Solver::Hook(hook), placed, now()).await
    };
    let Step::Placed { url, .. } = step(Hook::new("none", "/bin/true".into()), None).await.unwrap() else { panic!() };
    for (name, body, says) in cases {
        let hook = Hook::new(name, script(&folder, name, body)).with_limit(Duration::from_secs(1 + u64::from(name != "hangs") * 30));
        let answer = step(hook, Some(&url)).await;
        match &answer {
            Err(Error::Setup(why)) if why.contains(says) && why.contains(&format!("the DNS hook {name} (present _acme")) => {
                assert!(why.len() < 3000, "{}", why.len());
            }
            _ => panic!("{name}: {answer:?}"),
        }
    }
    let later = step(Hook::new("later", script(&folder, "later", "echo busy; exit 75")), Some(&url)).await;
    assert!(
        matches!(&later, Err(Error::Later { detail, after: 60, whose: acme::Whose::Proof }) if detail.contains("status 75: busy")),
        "{later:?}"
    );
    let missing = step(Hook::new("missing", folder.path().join("nothing")), Some(&url)).await;
    assert!(matches!(&missing, Err(Error::Setup(why)) if why.contains("cannot be started")), "{missing:?}");
    // What the hanging one left running was ended with it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!marker.exists());
}
