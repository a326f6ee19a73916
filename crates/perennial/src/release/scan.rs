//! `perennial release scan`: finds certificates and keys in what was built, and registers them with a server. With `--offline` it needs no
//! server and no configuration.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{self, BufWriter, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use api::v1::Carried;
use artifact::{Code, Finding, Limits, Source, Watch, Zeroizing};
use clap::Args as ClapArgs;
use client::{Error, Exit, Screen};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pki::{Fingerprint, Time};
use serde_json::Value;

use super::{
    lines::{self, Judged, Standing},
    online::{self, Online},
};

/// Longest password, in bytes.
const MAX_PASSWORD: u64 = 4096;
/// Bytes between two looks at the progress bar.
const BAR_STEP: u64 = 16 * 1024 * 1024;

/// Find certificates and keys in what was built: folders, archives, packages, container images, keystores, inside each other.
///
/// What a thing is packed in is known by its content: tar, gzip, zstd, xz, zip and jar, deb, OCI image layouts and `docker save` archives; PEM
/// in any text, DER, PKCS#7, PKCS#12, Java keystores. Nothing is unpacked to disk and nothing is changed. What cannot be looked into is told.
///
/// With --service and --build the certificates (what everybody may know of them, and never a key) are registered for that build as a whole;
/// its release is created where there is none yet, and by when it must be built follows from what production was observed to serve.
///
/// Exit status: 0 nothing that needs anybody; 1 an expired certificate, a private key in the clear, a part that could not be read, or an older
/// version than the newest one; 2 the call itself was wrong; 3 this build carries certificates and will miss a deadline, or would take production back; 4 the server did not
/// answer.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Files and folders; - is standard input, as in `docker save IMAGE | perennial release scan --offline -`.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Ask no server.
    #[arg(long)]
    offline: bool,
    /// The service whose build this is.
    #[arg(long, value_name = "S", conflicts_with = "offline")]
    pub(super) service: Option<String>,
    /// What its builders call it: a version, a commit, a digest.
    #[arg(long, value_name = "ID", conflicts_with = "offline")]
    pub(super) build: Option<String>,
    #[command(flatten)]
    pub(super) when: client::WhenArgs,
    /// Write one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Try the password in this file on PKCS#12 files; may be repeated. The empty one and `changeit` are always tried.
    #[arg(long, value_name = "F")]
    password_file: Vec<PathBuf>,
    /// Show this, and do not fail for it: the SHA-256 of a certificate or of a public key in hexadecimal, or the code of a problem.
    #[arg(long, value_name = "WHAT", value_parser = Accepted::parse)]
    accept: Vec<Accepted>,
    /// Judge as at this time (RFC 3339) instead of now.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| Time::parse(text).map_err(|error| error.to_string()))]
    at: Option<Time>,
    /// Seconds that the whole may take; what was not reached is told.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time: u64,
    /// Containers inside each other that are looked into.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=32))]
    depth: u8,
    // Last: its heading stands over all that follows.
    #[command(flatten)]
    pub(super) connection: client::Connection,
}

/// What somebody looked at and found harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Accepted {
    Thing(Fingerprint),
    Problem(Code),
}

impl Accepted {
    fn parse(text: &str) -> Result<Accepted, String> {
        if let Some(code) = Code::ALL.into_iter().find(|code| code.as_str() == text) {
            return Ok(Accepted::Problem(code));
        }
        Fingerprint::parse(text).map(Accepted::Thing).map_err(|_| {
            let codes: Vec<&str> = Code::ALL.into_iter().map(Code::as_str).collect();
            format!("neither a SHA-256 in hexadecimal nor one of {}", codes.join(", "))
        })
    }
}

/// Runs the scan. Findings go to standard output; everything else goes to standard error.
pub(crate) fn run(args: &Args) -> ExitCode {
    match scan(args) {
        Ok(exit) => exit.into(),
        Err(wrong) => {
            complain(&wrong.to_string());
            wrong.exit().into()
        }
    }
}

pub(super) fn complain(what: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr(), "perennial release scan: {what}");
}

fn scan(args: &Args) -> Result<Exit, Error> {
    for path in args.paths.iter().filter(|path| !is_input(path)) {
        std::fs::metadata(path).map_err(|error| Error::Usage(format!("{}: {error}", shown(path))))?;
    }
    if args.paths.iter().filter(|path| is_input(path)).count() > 1 {
        return Err(Error::Usage("standard input can be read once only".into()));
    }
    let passwords = args.password_file.iter().map(|path| password(path)).collect::<Result<Vec<_>, _>>().map_err(Error::Usage)?;
    let mut online = if args.offline { None } else { Some(Online::begin(args)?) };
    let now = args.at.unwrap_or_else(crate::clock::now);

    let clock = Clock::start();
    let bar = clock.bar.clone();
    let output = Output {
        stdout: BufWriter::with_capacity(32 * 1024, io::stdout()),
        json: args.json,
        colours: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        bar: bar.filter(|_| io::stdout().is_terminal()),
        tally: [0; Standing::ALL.len()],
        accepted: 0,
        bad: false,
        trouble: None,
    };
    let output = RefCell::new(output);
    let mut tell = |finding: Finding| {
        online.iter_mut().for_each(|online| online.note(&finding));
        output.borrow_mut().put(&lines::judge(&finding, now, &args.accept))
    };

    let mut input = io::stdin();
    let mut bytes: Option<&mut dyn Read> = Some(&mut input);
    let mut sources = Vec::new();
    for path in &args.paths {
        match bytes.take_if(|_| is_input(path)) {
            Some(bytes) => sources.push(Source::Stream { name: "-", bytes }),
            None => sources.push(Source::Path(path)),
        }
    }
    let limits = Limits { time: Duration::from_secs(args.time), depth: usize::from(args.depth), ..Limits::default() };
    let summary = artifact::scan(&mut sources, &limits, &passwords, &clock, &mut tell);

    if let Some(bar) = &clock.bar {
        bar.finish_and_clear();
    }
    let mut output = output.into_inner();
    output.flush();
    match output.trouble {
        // Whoever stops reading has seen enough.
        Some(io::ErrorKind::BrokenPipe) if online.is_none() => return Ok(Exit::Ok),
        Some(kind) => {
            complain(&format!("the output could not be written: {kind}"));
            return Ok(Exit::Due);
        }
        None => {}
    }
    if !args.json {
        let _ = writeln!(io::stderr(), "{}", output.summary(&summary));
    }
    let found = Exit::due(output.bad);
    let Some(online) = online else { return Ok(found) };
    if !summary.complete {
        complain("not everything was looked at, so nothing was registered; raise the limit that was reached, or scan less at once");
        return Ok(Exit::Due);
    }
    let (answer, carried) = online.register()?;
    tell_carried(args.json, &answer, &carried, now).map_err(Error::Output)?;
    Ok(online::exit(found, &carried))
}

/// What the store makes of the build: behind what was found, as a line of its own kind or for people.
fn tell_carried(json: bool, answer: &Value, carried: &Carried, now: Time) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let mut line = answer.clone();
        if let Some(fields) = line.as_object_mut() {
            fields.insert("kind".into(), "release".into());
        }
        return writeln!(out, "{line}");
    }
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut screen = Screen { out: &mut out, talk: &mut io::stderr(), colours, progress: false, now };
    client::show_carried(carried, &mut screen)
}

fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn shown(path: &Path) -> String {
    pki::text::escape(&path.to_string_lossy())
}

/// The first line of a file.
fn password(path: &Path) -> Result<Zeroizing<String>, String> {
    let wrong = |why: &str| format!("--password-file {}: {why}", shown(path));
    let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 + MAX_PASSWORD as usize));
    file.take(MAX_PASSWORD + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error.to_string()))?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() as u64 > MAX_PASSWORD {
        return Err(wrong("the password has more than 4096 bytes"));
    }
    std::str::from_utf8(line).map(|line| Zeroizing::new(line.to_owned())).map_err(|_| wrong("the password is not UTF-8"))
}

/// The time since the start, and the progress that people see.
struct Clock {
    start: Instant,
    bar: Option<ProgressBar>,
    shown: Cell<u64>,
}

impl Clock {
    fn start() -> Clock {
        #[expect(clippy::disallowed_methods, reason = "the door: how long a scan takes decides nothing but its limit of time")]
        let start = Instant::now();
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} looked at, {bytes_per_sec}, {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
        Clock { start, bar, shown: Cell::new(0) }
    }
}

impl Watch for Clock {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn read(&self, bytes: u64) {
        if let Some(bar) = self.bar.as_ref().filter(|_| bytes - self.shown.get() >= BAR_STEP) {
            self.shown.set(bytes);
            bar.set_position(bytes);
        }
    }
}

/// Standard output, and what was written to it.
struct Output {
    stdout: BufWriter<io::Stdout>,
    json: bool,
    colours: bool,
    /// The bar, if it shares the terminal.
    bar: Option<ProgressBar>,
    tally: [u64; Standing::ALL.len()],
    accepted: u64,
    bad: bool,
    trouble: Option<io::ErrorKind>,
}

impl Output {
    /// Writes one; false when nobody reads any more.
    fn put(&mut self, judged: &Judged<'_>) -> bool {
        if let Some(count) = self.tally.get_mut(judged.standing as usize) {
            *count += 1;
        }
        self.accepted += u64::from(judged.accepted);
        self.bad |= judged.is_bad();
        let line = if self.json { lines::json(judged) } else { lines::readable(judged, self.colours) };
        let mut write = || {
            self.stdout.write_all(line.as_bytes())?;
            // People want to see it now; so does whoever reads a pipe line by line while a large image is read.
            self.stdout.flush()
        };
        let written = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        self.trouble = self.trouble.or(written.err().map(|error| error.kind()));
        self.trouble.is_none()
    }

    fn flush(&mut self) {
        let flushed = self.stdout.flush().err().map(|error| error.kind());
        self.trouble = self.trouble.or(flushed);
    }

    /// "12 found: 10 ok, 1 expired, 1 clear-key; 3 files, 1.2 MiB"
    fn summary(&self, summary: &artifact::Summary) -> String {
        let counted: u64 = self.tally.iter().sum();
        let parts: Vec<String> = Standing::ALL
            .into_iter()
            .zip(self.tally)
            .filter(|(_, count)| *count > 0)
            .map(|(standing, count)| format!("{count} {}", standing.as_str()))
            .collect();
        let list = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        let accepted = if self.accepted > 0 { format!("; {} accepted", self.accepted) } else { String::new() };
        let more = summary.found.saturating_sub(counted);
        let more = if more > 0 { format!("; {more} more were not shown") } else { String::new() };
        let files = if summary.files == 1 { "file" } else { "files" };
        format!("{counted} found{list}{accepted}{more}; searched {} {files}, {}", summary.files, HumanBytes(summary.bytes))
    }
}
