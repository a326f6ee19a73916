#![allow(clippy::unwrap_used)]
use super::*;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

fn install(place: Place) -> Install {
    Install { secret: "www".into(), place, key_type: None, owner: None, group: None, mode: None, reload: None, look: None, target: None }
}

fn pair(folder: &Path) -> Install {
    install(Place::Pair { certificate: folder.join("fullchain.pem"), key: folder.join("key.pem") })
}

fn bytes(spot: &Spot<'_>, text: &str) -> Bytes {
    Bytes { files: spot.names().iter().map(|name| (*name, Zeroizing::new(format!("{name} {text}").into_bytes()))).collect() }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_pair_appears_and_changes_by_one_rename() {
    let folder = tempfile::tempdir().unwrap();
    let install = pair(folder.path());
    let spot = Spot(&install);
    assert_eq!(spot.adopt(&|_| ()).unwrap(), None);
    assert!(!folder.path().join("fullchain.pem").exists(), "both lead nowhere yet");
    let one = spot.stage(1, &bytes(&spot, "one")).unwrap();
    assert!(!folder.path().join("key.pem").exists(), "staged is not shown");
    spot.switch(&one).unwrap();
    assert_eq!(text(&folder.path().join("key.pem")), "key.pem one");
    let two = spot.stage(2, &bytes(&spot, "two")).unwrap();
    assert_eq!(text(&folder.path().join("fullchain.pem")), "fullchain.pem one");
    spot.switch(&two).unwrap();
    assert_eq!(
        (text(&folder.path().join("fullchain.pem")), text(&folder.path().join("key.pem"))),
        ("fullchain.pem two".into(), "key.pem two".into())
    );
    assert!(spot.shows(&two) && !spot.shows(&one));
    spot.switch(&one).unwrap();
    assert!(spot.shows(&one));
    spot.prune(&[&one]).unwrap();
    assert!(spot.shows(&one) && spot.read(&two).unwrap().is_none());
    let modes = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
    assert_eq!((modes("fullchain.pem"), modes("key.pem")), (0o644, 0o600));
    // Relative: the same files seen through another root.
    assert_eq!(fs::read_link(folder.path().join("key.pem")).unwrap(), Path::new(".fullchain.pem.perennial/current/key.pem"));
}

#[test]
fn plain_files_are_taken_over_without_a_moment_of_another_pair() {
    for place in ["pair", "elsewhere"] {
        let folder = tempfile::tempdir().unwrap();
        let mut install = pair(folder.path());
        if place == "elsewhere" {
            fs::create_dir(folder.path().join("private")).unwrap();
            install.place = Place::Pair { certificate: folder.path().join("fullchain.pem"), key: folder.path().join("private/key.pem") };
        }
        let Place::Pair { certificate, key } = &install.place else { unreachable!() };
        fs::write(certificate, "old chain").unwrap();
        fs::write(key, "old key").unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
        let spot = Spot(&install);
        let lies = spot.adopt(&|_| ()).unwrap().unwrap();
        assert_eq!((lies.version, lies.label.starts_with("adopted-")), (0, true));
        assert_eq!((text(certificate), text(key)), ("old chain".into(), "old key".into()));
        assert!(spot.shows(&lies.label));
        assert_eq!(spot.adopt(&|_| ()).unwrap().unwrap().label, lies.label, "again is the same");
        // A crash between the two links: the key is still the plain file.
        fs::remove_file(key).unwrap();
        fs::write(key, "old key").unwrap();
        assert_eq!(spot.adopt(&|_| ()).unwrap().unwrap().label, lies.label);
        assert!(fs::read_link(key).is_ok());
        // And somebody wrote another key meanwhile.
        fs::remove_file(key).unwrap();
        fs::write(key, "another key").unwrap();
        assert!(spot.adopt(&|_| ()).unwrap_err().to_string().contains("changed while it was taken over"));
        fs::remove_file(key).unwrap();
        spot.adopt(&|_| ()).unwrap();
        let new = spot.stage(1, &bytes(&spot, "new")).unwrap();
        spot.switch(&new).unwrap();
        assert_eq!(text(key), "key.pem new");
        assert_eq!(fs::metadata(key).unwrap().mode() & 0o777, 0o640, "what nobody configured stays as it was");
        spot.switch(&lies.label).unwrap();
        assert_eq!((text(certificate), text(key)), ("old chain".into(), "old key".into()));
    }
}

#[test]
fn half_a_pair_is_refused() {
    for name in ["fullchain.pem", "key.pem"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), "x").unwrap();
        let error = Spot(&pair(folder.path())).adopt(&|_| ()).unwrap_err().to_string();
        assert!(error.contains("half a pair") && error.contains(name), "{error}");
        assert_eq!(text(&folder.path().join(name)), "x");
    }
}

#[test]
fn a_combined_file_changes_by_its_own_rename() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("www.pem");
    let install = install(Place::Combined(path.clone()));
    let spot = Spot(&install);
    assert_eq!(spot.adopt(&|_| ()).unwrap(), None);
    fs::write(&path, "old").unwrap();
    let before = spot.adopt(&|_| ()).unwrap().unwrap();
    assert!(spot.shows(&before.label));
    let one = spot.stage(1, &bytes(&spot, "one")).unwrap();
    assert_eq!(text(&path), "old");
    spot.switch(&one).unwrap();
    assert_eq!(text(&path), "combined.pem one");
    assert!(spot.shows(&one) && !spot.shows(&before.label));
    spot.switch(&before.label).unwrap();
    assert_eq!(text(&path), "old");
    // HAProxy reads every file of a folder that does not begin with a dot.
    let seen: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.starts_with('.'))
        .collect();
    assert_eq!(seen, ["www.pem"]);
}

#[test]
fn a_directory_changes_by_its_current() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("www");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("dhparam.pem"), "not ours").unwrap();
    let install = install(Place::Directory(path.clone()));
    let spot = Spot(&install);
    assert_eq!(spot.adopt(&|_| ()).unwrap(), None);
    for version in 1..4 {
        let label = spot.stage(version, &bytes(&spot, &version.to_string())).unwrap();
        spot.switch(&label).unwrap();
        spot.prune(&[&label]).unwrap();
        assert_eq!(text(&path.join("current/combined.pem")), format!("combined.pem {version}"));
    }
    assert_eq!(text(&path.join("dhparam.pem")), "not ours");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
    fs::remove_file(path.join("current")).unwrap();
    fs::create_dir(path.join("current")).unwrap();
    assert!(spot.adopt(&|_| ()).unwrap_err().to_string().contains("none of the agent's"));
}

#[test]
fn what_readers_see_is_never_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let install = pair(folder.path());
    let spot = Spot(&install);
    spot.adopt(&|_| ()).unwrap();
    let one = spot.stage(1, &bytes(&spot, "one")).unwrap();
    spot.switch(&one).unwrap();
    assert_eq!(spot.stage(1, &bytes(&spot, "one")).unwrap(), one, "whole already");
    // Somebody wrote into the current files.
    fs::write(folder.path().join("key.pem"), "by hand").unwrap();
    assert!(!spot.shows(&one));
    let again = spot.stage(1, &bytes(&spot, "one")).unwrap();
    assert_ne!(again, one);
    assert_eq!(text(&folder.path().join("key.pem")), "by hand");
    spot.switch(&again).unwrap();
    assert!(spot.shows(&again));
}

#[test]
fn a_key_is_never_everybodys_because_the_file_before_was() {
    let folder = tempfile::tempdir().unwrap();
    let (paired, path) = (pair(folder.path()), folder.path().join("www.pem"));
    let combined = install(Place::Combined(path.clone()));
    for path in [folder.path().join("fullchain.pem"), folder.path().join("key.pem"), path] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    for install in [&paired, &combined] {
        let spot = Spot(install);
        spot.adopt(&|_| ()).unwrap();
        spot.switch(&spot.stage(1, &bytes(&spot, "new")).unwrap()).unwrap();
    }
    let modes = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
    assert_eq!((modes("fullchain.pem"), modes("key.pem"), modes("www.pem")), (0o644, 0o640, 0o640));
}

#[test]
fn a_folder_of_labels_that_is_gone_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let install = install(Place::Pair { certificate: folder.path().join("run/tls/a.pem"), key: folder.path().join("run/tls/a.key") });
    let spot = Spot(&install);
    spot.adopt(&|_| ()).unwrap();
    let one = spot.stage(1, &bytes(&spot, "one")).unwrap();
    spot.switch(&one).unwrap();
    // What lives in memory is gone after every start of the machine, with the folders above it.
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    assert!(!spot.shows(&one));
    spot.switch(&spot.stage(1, &bytes(&spot, "one")).unwrap()).unwrap();
    assert!(spot.shows(&one));
}

/// Whoever may write to the folder around puts something else where the agent writes next.
#[test]
fn nothing_is_written_through_what_is_not_the_agents_own() {
    let folder = tempfile::tempdir().unwrap();
    let (install, base) = (pair(folder.path()), folder.path().join(".fullchain.pem.perennial"));
    let (spot, elsewhere) = (Spot(&install), folder.path().join("elsewhere"));
    spot.adopt(&|_| ()).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let refused = |expected: &str| {
        for error in [spot.stage(1, &bytes(&spot, "one")).unwrap_err(), spot.adopt(&|_| ()).unwrap_err()] {
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    };
    fs::remove_dir_all(&base).unwrap();
    symlink(&elsewhere, &base).unwrap();
    refused("is a link or no folder");
    fs::remove_file(&base).unwrap();
    fs::create_dir(&base).unwrap();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).unwrap();
    refused("chmod go-w");
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    if chown(&base, Some(65534), None).is_ok() {
        refused("belongs to user 65534");
        chown(&base, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    }
    // A handle that was opened leads where it led, whatever the path leads to now; and no file is opened through a link.
    let own = Own::open(&base).unwrap();
    fs::rename(&base, folder.path().join("moved")).unwrap();
    symlink(&elsewhere, &base).unwrap();
    let owner = Owner { user: None, group: None, mode: 0o600 };
    let label = own.create_folder("v1-0123456789abcdef").unwrap();
    label.create(KEY, b"key", owner).unwrap();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    symlink(elsewhere.join("new"), folder.path().join("moved/v1-0123456789abcdef/fullchain.pem")).unwrap();
    assert!(label.create(CHAIN, b"chain", owner).is_err());
    assert!(!elsewhere.join("new").exists());
}

#[test]
fn labels_are_told_from_other_things() {
    for (name, expected) in [
        ("v1-0123456789abcdef", true),
        ("v1-0123456789abcdef~", true),
        ("adopted-0123456789abcdef", true),
        ("v1", false),
        ("vhosts-0123456789abcdef", false),
        ("current", false),
        ("backup-0123456789abcdef", false),
        ("v1-0123", false),
    ] {
        assert_eq!(is_label(name), expected, "{name}");
    }
}
