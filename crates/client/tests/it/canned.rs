//! A server that answers what it was told to, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{fmt, io, thread};

use clap::Parser;
use client::{Keyboard, Screen};
use pki::Time;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The time of all these tests.
pub(crate) const NOW: &str = "2026-11-23T20:29:53Z";

/// One answer: "METHOD /path", status, body. The same question may have several; they are given in order, the last one for ever.
pub(crate) type Answer = (&'static str, u16, Value);

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// "METHOD /path".
    pub(crate) line: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Canned {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) folder: tempfile::TempDir,
    keyboard: Typed,
    colours: bool,
}

/// What a command came to; shown as a golden.
pub(crate) struct Ended {
    pub(crate) exit: u8,
    pub(crate) out: String,
    pub(crate) talk: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.out)?;
        for line in self.talk.lines() {
            writeln!(f, "! {line}")?;
        }
        write!(f, "exit {}", self.exit)
    }
}

/// As the program puts them together.
#[derive(clap::Subcommand)]
enum Calls {
    #[command(flatten)]
    Operate(client::Command),
    #[command(subcommand)]
    Release(client::ReleaseCommand),
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Calls,
}

/// What lies on standard input, or what a person types when asked.
#[derive(Clone, Default)]
pub(crate) struct Typed {
    pub(crate) hidden: Vec<&'static str>,
    pub(crate) piped: Vec<u8>,
}

impl Keyboard for Typed {
    fn is_terminal(&self) -> bool {
        !self.hidden.is_empty()
    }
    fn hidden(&mut self, _: &str) -> io::Result<Zeroizing<String>> {
        Ok(Zeroizing::new(self.hidden.remove(0).to_owned()))
    }
    fn all(&mut self, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        assert!(self.piped.len() <= limit);
        Ok(Zeroizing::new(self.piped.clone()))
    }
}

impl Canned {
    pub(crate) fn new(answers: Vec<Answer>) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (Arc::new(Mutex::new(answers)), Arc::clone(&asked));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                thread::spawn(move || serve(stream.unwrap(), &answers, &log));
            }
        });
        Canned { url, asked, folder: tempfile::tempdir().unwrap(), keyboard: Typed::default(), colours: false }
    }

    pub(crate) fn typing(mut self, hidden: &[&'static str]) -> Canned {
        self.keyboard.hidden = hidden.to_vec();
        self
    }

    pub(crate) fn piping(mut self, bytes: &[u8]) -> Canned {
        self.keyboard.piped = bytes.to_vec();
        self
    }

    pub(crate) fn colourful(mut self) -> Canned {
        self.colours = true;
        self
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Runs a command; `@name` stands for a file of the test's folder, which is shown as `@name` too.
    pub(crate) fn run(&self, line: &str) -> Ended {
        let folder = format!("{}/", self.folder.path().display());
        let words: Vec<String> = line.split_whitespace().map(|word| word.replace('@', &folder).replace('_', " ")).collect();
        let Line { command } =
            Line::try_parse_from(std::iter::once("perennial".to_owned()).chain(words)).unwrap_or_else(|error| panic!("{error}"));
        let command = match command {
            Calls::Operate(command) => command,
            Calls::Release(command) => client::Command::Release(command),
        };
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut screen = Screen { out: &mut out, talk: &mut talk, colours: self.colours, progress: false, now: Time::parse(NOW).unwrap() };
        let environment = |name: &str| match name {
            "PERENNIAL_SERVER" => Some(self.url.clone()),
            "PERENNIAL_TOKEN" => Some("prn_test".to_owned()),
            _ => None,
        };
        let exit = client::run(command, &environment, &mut screen, &mut self.keyboard.clone());
        let shown = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "@").replace(&self.url, "http://server");
        Ended { exit: exit as u8, out: shown(out), talk: shown(talk) }
    }

    /// Whether this is a call at all.
    pub(crate) fn is_call(line: &str) -> bool {
        Line::try_parse_from(format!("perennial {line}").split_whitespace()).is_ok()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked, one "METHOD /path" per line.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// The body of a question, as JSON.
    pub(crate) fn body(&self, at: usize) -> Value {
        serde_json::from_slice(&self.asked()[at].body).unwrap()
    }
}

fn serve(stream: TcpStream, answers: &Mutex<Vec<Answer>>, log: &Mutex<Vec<Asked>>) {
    let mut input = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let request = line();
    let (mut length, mut token) = (0, None);
    loop {
        let header = line();
        let Some((name, value)) = header.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => token = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).unwrap();
    let line = request.rsplit_once(' ').map_or("", |(line, _)| line).to_owned();
    let mut answers = answers.lock().unwrap();
    let matching: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].0 == line).collect();
    let (status, text) = match matching.as_slice() {
        [] => (404, problem(404, "not-found", &format!("nothing is canned for {line}"), &[]).to_string()),
        [last] => (answers[*last].1, answers[*last].2.to_string()),
        [first, ..] => {
            let (_, status, value) = answers.remove(*first);
            (status, value.to_string())
        }
    };
    log.lock().unwrap().push(Asked { line, token, body });
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    let mut stream = input.into_inner();
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())).unwrap();
}

pub(crate) fn problem(status: u16, code: &str, detail: &str, problems: &[&str]) -> Value {
    json!({ "type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, "problems": problems })
}

pub(crate) fn page(items: Value) -> Value {
    json!({ "items": items })
}
