//! Tells whoever keeps a certificate in memory that the files changed; within a limit, and all of it ends with the limit.

use std::{
    fs,
    io::{self, PipeReader, Read as _},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use pki::text::escape;
use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::time::{Instant, sleep};

use crate::{
    config::{How, Reload, Signal},
    files,
};

/// How often the end of a program is looked for.
const TICK: Duration = Duration::from_millis(10);
/// How much of what a program said is told, in bytes, from the end: no more than is shown of a text from outside.
const TOLD_BYTES: usize = 480;
/// How much is read of it at a time, in bytes: as much as a pipe holds, so whoever talks without end is held up and not listened to for ever.
const MOST_HEARD: usize = 64 << 10;
/// Where programs are found by those that we call. Nothing else of our environment is handed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reloads.
///
/// # Errors
/// What went wrong, for people.
pub(crate) async fn reload(reload: &Reload, secret: &str) -> Result<(), String> {
    match &reload.how {
        How::Unit(unit) => run(&["systemctl".to_owned(), "reload".to_owned(), unit.clone()], reload.limit, secret).await,
        How::Command(words) => run(words, reload.limit, secret).await,
        How::Signal { signal, pid_file } => send(*signal, pid_file),
    }
}

/// The file is written by the service itself, perhaps under a user of its own, which must not say whom root signals: only its own processes.
fn send(signal: Signal, pid_file: &Path) -> Result<(), String> {
    let path = escape(&pid_file.display().to_string());
    let found = files::read_with_owner(pid_file, false).map_err(|error| error.to_string())?;
    let (bytes, meta) = found.ok_or(format!("{path} is not there: is the server running?"))?;
    // PostgreSQL writes more lines below; the first is the process.
    let first = String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().trim().to_owned();
    let number = first.parse::<i32>().ok().filter(|number| *number > 1);
    let pid = number.and_then(Pid::from_raw).ok_or(format!("{path} holds no process number"))?;
    let runs_as = fs::read_to_string(format!("/proc/{first}/status")).ok().as_deref().and_then(user_of);
    may_signal(meta.uid(), meta.mode(), runs_as).map_err(|why| format!("process {first} is not signalled: {path} {why}"))?;
    let signal = match signal {
        Signal::Hup => rustix::process::Signal::HUP,
        Signal::Usr1 => rustix::process::Signal::USR1,
        Signal::Usr2 => rustix::process::Signal::USR2,
    };
    kill_process(pid, signal).map_err(|error| format!("process {first} ({path}) did not take the signal: {error}"))
}

/// Whether a file with this owner and mode may name a process of this user. A process that is not there takes no signal anyway.
fn may_signal(owner: u32, mode: u32, runs_as: Option<u32>) -> Result<(), String> {
    if mode & 0o022 != 0 {
        return Err("may be written to by others than its owner; `chmod go-w` it".to_owned());
    }
    match runs_as {
        Some(user) if owner != 0 && owner != user => {
            Err(format!("belongs to user {owner}, who may name its own processes, and this one is of user {user}"))
        }
        _ => Ok(()),
    }
}

/// The real user in `/proc/PID/status`.
fn user_of(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// What a program says goes through a pipe of this run, of which the end is kept. Whatever it leaves behind does not hold that open for us.
async fn run(words: &[String], limit: Duration, secret: &str) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Err("the command is empty".to_owned()) };
    let shown = escape(&words.join(" "));
    let failed = |error: io::Error| format!("{shown}: {error}");
    let (mut output, says) = io::pipe().map_err(failed)?;
    rustix::io::ioctl_fionbio(&output, true).map_err(|error| failed(error.into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("PERENNIAL_SECRET", secret)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(says.try_clone().map_err(failed)?)
        .stderr(says)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{shown} cannot be run: {error}"))?;
    let (end, mut said) = (Instant::now() + limit, Vec::new());
    let status = loop {
        listen(&mut output, &mut said);
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() < end => sleep(TICK).await,
            Ok(None) => break Err(format!("{shown} did not end within {} s and was killed with all that it started", limit.as_secs_f32())),
            Err(error) => break Err(failed(error)),
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
    })?;
    if status.success() {
        return Ok(());
    }
    listen(&mut output, &mut said);
    let said = escape(String::from_utf8_lossy(&said).trim());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Err(format!("{shown} ended with {status}{said}"))
}

/// Takes what is there, without waiting, and keeps the end of it.
fn listen(output: &mut PipeReader, said: &mut Vec<u8>) {
    let (mut buffer, mut heard) = ([0; 4096], 0);
    while heard < MOST_HEARD {
        // Nothing there now, or nobody who could say more.
        let Ok(length @ 1..) = output.read(&mut buffer) else { return };
        heard += length;
        said.extend_from_slice(buffer.get(..length).unwrap_or_default());
        said.drain(..said.len().saturating_sub(TOLD_BYTES));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    async fn outcome(how: How, limit: Duration) -> Result<(), String> {
        reload(&Reload { how, limit }, "www").await
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
        // More than anybody wants to hear is neither kept nor in the way; what was said last is told.
        check(&["/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo the end; exit 1"], Err("xthe end"));
    }

    #[test]
    fn reloads_at_the_same_time_do_not_speak_in_each_others_names() {
        let said = on_time(async {
            let one =
                |word: &str| outcome(How::Command(words(&["/bin/sh", "-c", &format!("echo {word}; exit 1")])), Duration::from_secs(30));
            tokio::join!(one("left"), one("right"))
        });
        assert!(said.0.clone().unwrap_err().ends_with(": left") && said.1.clone().unwrap_err().ends_with(": right"), "{said:?}");
    }

    #[test]
    fn a_service_names_its_own_processes_alone() {
        let check = |owner: u32, mode: u32, runs_as: Option<u32>, expected: Option<&str>| {
            let got = may_signal(owner, mode, runs_as);
            assert_eq!(got.is_err(), expected.is_some(), "{got:?}");
            assert!(expected.is_none_or(|part| got.clone().unwrap_err().contains(part)), "{got:?}");
        };
        check(0, 0o100_644, Some(0), None);
        check(0, 0o100_644, Some(33), None);
        check(33, 0o100_644, Some(33), None);
        check(33, 0o100_644, Some(0), Some("belongs to user 33"));
        check(33, 0o100_644, Some(34), Some("this one is of user 34"));
        check(33, 0o100_644, None, None);
        check(0, 0o100_666, Some(0), Some("written to by others"));
        assert_eq!(user_of("Name:\tx\nUid:\t33\t0\t0\t0\n"), Some(33));
        // A link to somebody else's number, and a FIFO that would hold the agent up.
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str| send(Signal::Hup, &folder.path().join(name)).unwrap_err();
        fs::write(folder.path().join("real"), "2\n").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        assert!(said("link").contains("link"), "{}", said("link"));
        assert!(Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
        assert!(said("fifo").contains("no regular file"), "{}", said("fifo"));
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
