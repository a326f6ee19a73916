//! A disk that is full, and one that is read-only: nothing half-written, and the old pair stays.

use std::{fs, path::Path, process::Command};

use api::agent::InstallState;

use crate::{
    programs::skipped,
    store::{Node, Running, Store, around, on},
};

/// A file system of its own, gone with the test.
struct Mount<'p>(&'p Path);

impl<'p> Mount<'p> {
    fn new(test: &str, path: &'p Path) -> Option<Mount<'p>> {
        fs::create_dir_all(path).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs"]).arg(path).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Mount(path));
        }
        skipped(test, "the right to mount a tmpfs");
        None
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Every file below a folder with its bytes.
fn all(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Ok(target) = fs::read_link(&path) {
                found.push((path.display().to_string(), target.display().to_string().into_bytes()));
            } else if path.file_name().is_none_or(|name| name != "ballast") {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_full_disk_and_a_read_only_disk_change_nothing() {
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let tls = node.at("tls");
        let Some(mount) = Mount::new("a_full_disk_and_a_read_only_disk_change_nothing", &tls) else { return };
        node.join(&store).await;
        store.send("www", 1);
        let _agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        let before = all(&tls);

        // Full: a file takes all the room that is left.
        let _ = fs::write(tls.join("ballast"), vec![0; 1 << 20]);
        store.send("www", 2);
        let report = store.reported("www", |report| report.state == InstallState::RolledBack).await;
        assert!(report.detail.contains("No space left"), "{}", report.detail);
        assert_eq!((report.version, all(&tls)), (1, before.clone()));
        fs::remove_file(tls.join("ballast")).unwrap();
        // Room again: it comes by itself.
        store.installed("www", 2).await;
        let before = all(&tls);

        mount.remount("ro");
        store.send("www", 3);
        let report = store.reported("www", |report| report.state == InstallState::RolledBack).await;
        assert!(report.detail.contains("Read-only file system"), "{}", report.detail);
        assert_eq!((report.version, all(&tls)), (2, before));
        mount.remount("rw");
        store.installed("www", 3).await;
    });
}

#[test]
fn a_state_folder_that_is_full_starts_nothing() {
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let state = node.at("state");
        let Some(mount) = Mount::new("a_state_folder_that_is_full_starts_nothing", &state) else { return };
        node.join(&store).await;
        let one = store.send("www", 1);
        let agent = Running::start(node.pair(""), around());
        store.installed("www", 1).await;
        let _ = fs::write(state.join("ballast"), vec![0; 1 << 20]);
        store.send("www", 2);
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert_eq!(node.leaf("tls/www.pem"), one, "what cannot be written down is not begun");
        fs::remove_file(state.join("ballast")).unwrap();
        store.installed("www", 2).await;
        agent.stop().await;
        drop(mount);
    });
}

#[test]
fn a_state_folder_that_fills_up_in_an_install_is_waited_for_and_nothing_is_done_twice() {
    on(async {
        let (store, node) = (Store::open().await, Node::new());
        let state = node.at("state");
        let Some(mount) = Mount::new("a_state_folder_that_fills_up_in_an_install", &state) else { return };
        node.join(&store).await;
        let log = node.at("log");
        let reload = format!("reload = {{ command = [\"/bin/sh\", \"-c\", \"echo reload >> {}\"] }}", log.display());
        let (ballast, mut around) = (state.join("ballast"), around());
        // Full from the reload on: what came of it cannot be written down.
        let fill = ballast.clone();
        around.step = std::sync::Arc::new(move |here| {
            if here == "after Reload" {
                let _ = fs::write(&fill, vec![0; 1 << 20]);
            }
        });
        let said = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let heard = said.clone();
        around.say = std::sync::Arc::new(move |what| {
            if what.contains("the journal waits to be written") {
                heard.add_permits(1);
            }
        });
        let one = store.send("www", 1);
        let agent = Running::start(node.pair(&reload), around);
        let waits = tokio::time::timeout(std::time::Duration::from_secs(60), said.acquire()).await;
        assert!(waits.is_ok(), "it says so");
        // Several tries to write later there is room again.
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        fs::remove_file(&ballast).unwrap();
        store.installed("www", 1).await;
        assert_eq!(node.leaf("tls/www.pem"), one);
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1, "reloaded once");
        agent.stop().await;
        drop(mount);
    });
}
