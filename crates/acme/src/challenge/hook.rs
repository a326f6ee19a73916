//! `dns-01` by a program of the operator's.
//!
//! It is called as `PROGRAM present NAME VALUE` and `PROGRAM cleanup NAME VALUE`, where NAME is the TXT record's full name without
//! a final dot. It ends with 0 when that is done: after `present`, when every server that the CA may ask answers with the record.
//! 75 (EX_TEMPFAIL of sysexits.h) asks to try again later; anything else is a failure. Both may be called more than once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::text::escape;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::Error;

/// How long one call may take. What needs longer ends with [`TEMPFAIL`] and is called again.
pub const CALL_TIME: Duration = Duration::from_secs(60);
/// How much of what it says is kept, in bytes; the rest is read and thrown away.
const MAX_OUTPUT: usize = 2 * 1024;
/// The status that asks to try again later.
pub const TEMPFAIL: i32 = 75;
/// How long after it.
const AFTER_TEMPFAIL: i64 = 60;
/// Where it finds what it calls. Nothing else of the server's environment reaches it, since tokens and passphrases may be there.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that writes records. Clones share what it has written.
#[derive(Clone, Debug)]
pub struct Hook {
    name: String,
    program: PathBuf,
    limit: Duration,
    /// What it has presented: it is not called again by each step.
    presented: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Hook {
    /// The program that is known by `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, program: PathBuf) -> Self {
        Hook { name: name.into(), program, limit: CALL_TIME, presented: Arc::default() }
    }

    /// The same with another time limit.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Hook { limit, ..self }
    }

    pub(crate) async fn present(&self, record: &str, value: &str) -> Result<(), Error> {
        let one = (record.to_owned(), value.to_owned());
        if self.presented().contains(&one) {
            return Ok(());
        }
        self.call("present", record, value).await?;
        self.presented().insert(one);
        Ok(())
    }

    pub(crate) async fn clean_up(&self, record: &str, value: &str) -> Result<(), Error> {
        self.presented().remove(&(record.to_owned(), value.to_owned()));
        self.call("cleanup", record, value).await
    }

    fn presented(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, verb: &str, record: &str, value: &str) -> Result<(), Error> {
        let doing = format!("the DNS hook {} ({verb} {})", escape(&self.name), escape(record));
        let mut command = Command::new(&self.program);
        command.args([verb, record, value]).env_clear().env("PATH", SEARCH).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| Error::Setup(format!("{doing} cannot be started: {error}")))?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = timeout(self.limit, async { tokio::join!(child.wait(), heard(out), heard(err)) }).await;
        // Whatever it left running ends here: a child that keeps a pipe open must not hold up renewals.
        drop(group);
        let Ok((status, out, err)) = ended else {
            return Err(Error::Setup(format!("{doing} took longer than {} s and was killed", self.limit.as_secs())));
        };
        let status = status.map_err(|error| Error::Setup(format!("{doing} cannot be waited for: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let said = if err.is_empty() { out } else { err };
        let said = if said.is_empty() { String::new() } else { format!(": {}", escape(&said)) };
        let ended = format!("{doing} {}{said}", shown(status));
        Err(if status.code() == Some(TEMPFAIL) { Error::unproven(ended, AFTER_TEMPFAIL) } else { Error::Setup(ended) })
    }
}

/// Ends all processes of a call, also when the call is given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody is left in it: good.
            let _none = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The beginning of what a stream says; all of it is read, so that nobody waits for room in the pipe.
async fn heard(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::with_capacity(MAX_OUTPUT), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = MAX_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

fn shown(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with status {code}"),
        None => "was ended by a signal".into(),
    }
}
