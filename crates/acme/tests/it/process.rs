//! Peers as processes that end with the test.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

/// `1`: a missing peer fails the test instead of skipping it.
const REQUIRE: &str = "PERENNIAL_REQUIRE_PEERS";
/// A peer that is not ready by then does not start.
const READY: Duration = Duration::from_secs(60);

/// Says that a test did not run; written past the capture of the test runner, which keeps what a passing test prints.
pub(crate) fn skipped(what: &str) {
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE}=1, but skipped {what}");
    std::io::stderr().write_all(format!("SKIPPED acme {what}\n").as_bytes()).unwrap();
}

/// A process that is killed with this value, and whose words are kept.
pub(crate) struct Peer {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts a program and waits for a line with `ready`. `Err(None)` where it is not installed, else what it said.
    pub(crate) fn start(command: &mut Command, ready: &'static str) -> Result<Peer, Option<String>> {
        // Debian keeps servers where people's PATH does not look.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|_| None)?;
        let said = Arc::new(Mutex::new(String::new()));
        let (tell, told) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] = [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let (said, tell) = (said.clone(), tell.clone());
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if line.contains(ready) {
                        let _ = tell.send(());
                    }
                    let mut said = said.lock().unwrap();
                    said.push_str(&line);
                    said.push('\n');
                }
            });
        }
        drop(tell);
        let peer = Peer { child, said };
        match told.recv_timeout(READY) {
            Ok(()) => Ok(peer),
            Err(_) => Err(Some(peer.said())),
        }
    }

    /// Waits until it accepts connections on these ports; what it says first is not always true yet.
    pub(crate) fn listens(mut self, ports: &[u16]) -> Result<Peer, Option<String>> {
        for _ in 0..600 {
            if ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                return Ok(self);
            }
            if self.child.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(Some(self.said()))
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

/// A port that is free for TCP and UDP on this machine. Between drawing it and listening on it somebody else may take it, so whoever
/// uses it tries several times.
pub(crate) fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Starts something on drawn ports, several times if need be; `None` where it is not installed, which was said.
pub(crate) fn start<T>(what: &str, mut once: impl FnMut() -> Result<T, Option<String>>) -> Option<T> {
    let mut last = String::new();
    for _ in 0..5 {
        match once() {
            Ok(started) => return Some(started),
            Err(None) => {
                skipped(&format!("{what}: not installed"));
                return None;
            }
            Err(Some(said)) => last = said,
        }
    }
    panic!("{what} does not start: {last}");
}
