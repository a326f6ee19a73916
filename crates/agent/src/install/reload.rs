//! Tells whoever keeps a certificate in memory that the files changed; within a limit, and all of it ends with the limit.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use pki::text::escape;
use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::time::{Instant, sleep};

use crate::config::{How, Reload, Signal};

/// How often the end of a program is looked for.
const TICK: Duration = Duration::from_millis(10);
/// How much of what a program said is told, in bytes, from the end.
const TOLD_BYTES: u64 = 600;
/// Where programs are found by those that we call. Nothing else of our environment is handed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reloads. What a program says goes to a file in `scratch`, never to a pipe that a grandchild could hold open.
///
/// # Errors
/// What went wrong, for people.
pub(crate) async fn reload(reload: &Reload, secret: &str, scratch: &Path) -> Result<(), String> {
    match &reload.how {
        How::Unit(unit) => run(&["systemctl".to_owned(), "reload".to_owned(), unit.clone()], reload.limit, secret, scratch).await,
        How::Command(words) => run(words, reload.limit, secret, scratch).await,
        How::Signal { signal, pid_file } => send(*signal, pid_file),
    }
}

fn send(signal: Signal, pid_file: &Path) -> Result<(), String> {
    let path = escape(&pid_file.display().to_string());
    let bytes =
        crate::files::read(pid_file).map_err(|error| error.to_string())?.ok_or(format!("{path} is not there: is the server running?"))?;
    // PostgreSQL writes more lines below; the first is the process.
    let first = String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().trim().to_owned();
    let number = first.parse::<i32>().ok().filter(|number| *number > 1).and_then(Pid::from_raw);
    let pid = number.ok_or(format!("{path} holds no process number"))?;
    let signal = match signal {
        Signal::Hup => rustix::process::Signal::HUP,
        Signal::Usr1 => rustix::process::Signal::USR1,
        Signal::Usr2 => rustix::process::Signal::USR2,
    };
    kill_process(pid, signal).map_err(|error| format!("process {first} ({path}) did not take the signal: {error}"))
}

async fn run(words: &[String], limit: Duration, secret: &str, scratch: &Path) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Err("the command is empty".to_owned()) };
    let shown = escape(&words.join(" "));
    let said = scratch.join("said");
    let mut output = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&said)
        .map_err(|error| format!("{}: {error}", said.display()))?;
    let handle = |file: &File| file.try_clone().map(Stdio::from).map_err(|error| format!("{shown}: {error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("PERENNIAL_SECRET", secret)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(handle(&output)?)
        .stderr(handle(&output)?)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{shown} cannot be run: {error}"))?;
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() < end => sleep(TICK).await,
            Ok(None) => break Err(format!("{shown} did not end within {} s and was killed with all that it started", limit.as_secs_f32())),
            Err(error) => break Err(format!("{shown}: {error}")),
        }
    };
    let status = status.inspect_err(|_| {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Gone already is as good.
            let _ = kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    });
    told(&shown, status?, &mut output)
}

fn told(shown: &str, status: ExitStatus, output: &mut File) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    let length = output.metadata().map_or(0, |meta| meta.len());
    let mut tail = Vec::new();
    let _ = output.seek(SeekFrom::Start(length.saturating_sub(TOLD_BYTES)));
    let _ = output.take(TOLD_BYTES).read_to_end(&mut tail);
    let said = escape(String::from_utf8_lossy(&tail).trim());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Err(format!("{shown} ended with {status}{said}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    async fn outcome(how: How, limit: Duration) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        reload(&Reload { how, limit }, "www", folder.path()).await
    }

    fn on_time<F: Future>(work: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let long = Duration::from_secs(30);
        let check = |command: &[&str], expected: Result<(), &str>| {
            let got = on_time(outcome(How::Command(words(command)), long));
            match expected {
                Ok(()) => assert_eq!(got, Ok(())),
                Err(part) => assert!(got.clone().unwrap_err().contains(part), "{got:?}"),
            }
        };
        check(&["/bin/true"], Ok(()));
        check(&["/bin/sh", "-c", "echo broken in line 3 >&2; exit 7"], Err("exit status: 7: broken in line 3"));
        check(&["/no/such/program"], Err("cannot be run"));
        check(&["/bin/sh", "-c", "test \"$PERENNIAL_SECRET\" = www && test -z \"$HOME\""], Ok(()));
        check(&[], Err("empty"));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let how = How::Command(words(&["/bin/sh", "-c", &script]));
        let got = on_time(outcome(how, Duration::from_millis(500)));
        assert!(got.clone().unwrap_err().contains("did not end within 0.5 s"), "{got:?}");
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // A killed process that nobody waited for may still be listed, but as a zombie.
        for _ in 0..500 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the child of a killed reload still runs");
    }

    #[test]
    fn a_program_that_leaves_somebody_behind_does_not_hold_us_up() {
        let how = How::Command(words(&["/bin/sh", "-c", "sleep 5 & exit 0"]));
        let begun = Instant::now();
        assert_eq!(on_time(outcome(how, Duration::from_secs(30))), Ok(()));
        assert!(Instant::now() - begun < Duration::from_secs(4));
    }

    #[test]
    fn a_signal_goes_to_the_process_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let check = |text: &str, expected: &str| {
            std::fs::write(&pid_file, text).unwrap();
            let how = How::Signal { signal: Signal::Hup, pid_file: pid_file.clone() };
            let got = on_time(outcome(how, Duration::from_secs(1)));
            assert!(got.clone().is_err_and(|error| error.contains(expected)), "{text}: {got:?}");
        };
        check("", "no process number");
        check("1\n", "no process number");
        check("-5\n", "no process number");
        check("999999999\n", "did not take the signal");
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        std::fs::write(&pid_file, format!("{}\n/data\n", child.id())).unwrap();
        let how = How::Signal { signal: Signal::Usr1, pid_file: pid_file.clone() };
        assert_eq!(on_time(outcome(how, Duration::from_secs(1))), Ok(()));
        assert!(!child.wait().unwrap().success());
    }
}
