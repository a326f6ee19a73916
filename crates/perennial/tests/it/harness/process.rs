//! Processes that end with the test, and whose words are kept.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{instant, wait};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_perennial");
/// A command that takes longer hangs.
const COMMAND: Duration = Duration::from_secs(120);

/// What a command answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program without anything that the environment of the tests may say to it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERENNIAL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let (out, err) = (drain(child.0.stdout.take().unwrap()), drain(child.0.stderr.take().unwrap()));
    let end = instant() + COMMAND;
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(instant() < end, "{command:?} hangs");
        thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: JoinHandle<Vec<u8>>| String::from_utf8(thread.join().unwrap()).unwrap();
    Ran { code: status.code().unwrap_or(-1), out: text(out), err: text(err) }
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A child that is killed with this value.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child whose lines on standard error are kept.
#[derive(Debug)]
pub(crate) struct Talking {
    child: Running,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Talking {
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Talking> {
        let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (stream, kept) = (child.0.stderr.take().unwrap(), Arc::clone(&lines));
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Ok(Talking { child, lines })
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line with `part`, and gives what follows it.
    pub(crate) fn hear(&mut self, part: &str) -> Result<String, String> {
        wait(60, &format!("a line with {part:?}"), || {
            let lines = self.lines.lock().unwrap();
            match lines.iter().find_map(|line| line.split_once(part)) {
                Some((_, rest)) => Ok(Ok(rest.trim().to_owned())),
                None => {
                    let all = lines.join("\n");
                    drop(lines);
                    match self.child.0.try_wait().unwrap() {
                        // Its last words may still be on their way; they are part of the error at most.
                        Some(status) => Ok(Err(format!("ended with {status} before it said {part:?}: {all}"))),
                        None => Err(all),
                    }
                }
            }
        })
    }

    pub(crate) fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Asks it to end, as a service manager does, and waits for that.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        signal(self.id(), "TERM");
        self.ended(30)
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, seconds: u64) -> ExitStatus {
        let child = &mut self.child.0;
        wait(seconds, "the process ends", || child.try_wait().unwrap().ok_or("it runs"))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.0.try_wait().unwrap().is_some()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().unwrap();
    assert!(sent.success());
}
