//! `perennial scan`: looks at targets and says what they serve, until when, and whether that is within policy. Needs no server.
//!
//! One line per target and address. What is read goes through a bounded channel, what is written through another, so memory follows
//! the concurrency and never the number of targets.

mod judge;
mod lines;
mod output;
mod source;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use pki::{CacheLimits, Roots, Time, Verifier};
use probe::{Dialer, Offer, Settings, lanes, lanes::Lanes};

use judge::{Judge, Standing};
use output::{Form, Output, Pen, Tally};
use source::{Fed, Item, Queue};

/// All within policy.
const WITHIN_POLICY: u8 = 0;
/// Something is due, broken or unreachable.
const NOT_WITHIN_POLICY: u8 = 1;
/// The call itself was wrong.
const WRONG_CALL: u8 = 2;

/// Threads that dial; more cores than this are better used by other processes.
const MAX_THREADS: usize = 8;
/// Names that are looked up at the same time, per thread.
const LOOKUPS: usize = 32;
/// Intermediates are remembered as proven; whole chains are remembered, smaller, where they are judged.
const REMEMBERED: CacheLimits = CacheLimits { verdicts: 0, intermediates: 1_024 };
/// Descriptors left for everything that is not a dial.
const OTHER_DESCRIPTORS: usize = 64;

/// Look at TLS endpoints and say what they serve, until when, and whether that is within policy.
///
/// Every address of every target is dialled with a fresh, complete handshake, and closed politely. Each address is one line.
///
/// Exit status: 0 all within policy; 1 something is due, broken or unreachable; 2 the call itself was wrong.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// host[:port] or protocol://host:port, with @address to pin one address; - reads targets from standard input.
    ///
    /// Protocols: tls (the default), https, smtp, imap, pop3, ldap, postgres, mysql, xmpp. IPv6 addresses with a port stand in brackets.
    #[arg(value_name = "TARGET", required_unless_present = "file")]
    targets: Vec<String>,
    /// Read targets from a file, one per line; # begins a comment, - is standard input.
    #[arg(long, value_name = "F")]
    file: Vec<PathBuf>,
    /// Write one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Judge as at this time (RFC 3339) instead of now.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| Time::parse(text).map_err(|error| error.to_string()))]
    at: Option<Time>,
    /// Trust the certificates in this file (PEM or DER) instead of this system's; may be repeated.
    #[arg(long, value_name = "F")]
    ca: Vec<PathBuf>,
    /// Handshakes at the same time. Targets that keep silent are waited for on the side and do not count.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: u32,
    /// Dials per second to one destination address; 0 is unlimited.
    #[arg(long, value_name = "N", default_value_t = probe::RATE_PER_ADDRESS)]
    rate: u32,
    /// Seconds that connecting and the handshake may take, each.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: Option<u64>,
    /// What to offer: all, rsa, ecdsa or ed25519; a server with two certificates shows the one that fits.
    #[arg(long, default_value = "all", value_parser = |word: &str| Offer::parse(word).ok_or("known are all, rsa, ecdsa, ed25519"))]
    offer: Offer,
}

/// Runs the scan. Results go to standard output; everything else goes to standard error.
pub(crate) fn run(args: ScanArgs) -> ExitCode {
    match scan(args) {
        Ok(code) => ExitCode::from(code),
        Err(wrong) => {
            complain(&wrong);
            ExitCode::from(WRONG_CALL)
        }
    }
}

fn complain(what: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr(), "perennial scan: {what}");
}

fn scan(args: ScanArgs) -> Result<u8, String> {
    // The door: the only place of a scan where the clock is read.
    #[allow(clippy::disallowed_methods)]
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = args.at.unwrap_or_else(|| Time::from_unix(i64::try_from(clock).unwrap_or(i64::MAX)));

    let sources = source::open(&args.targets, &args.file)?;
    let verifier = Arc::new(Verifier::with_limits(Arc::new(roots(&args.ca)?), REMEMBERED));
    let dialer = dialer(&args)?;

    let terminal = io::stdout().is_terminal();
    let form = if args.json { Form::Json } else { Form::Lines { colours: terminal && std::env::var_os("NO_COLOR").is_none() } };
    let output = Output::start(form, sources.known());
    let threads = match sources.known() {
        Some(_) => 1,
        None => thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
    };
    let lanes = lanes_within(usize::try_from(args.concurrency).unwrap_or(1), descriptors(), threads);

    let (items, feeder) = source::feed(sources, output.progress());
    let items = Arc::new(items);
    let judge = Judge::new(dialer, verifier, now, args.offer);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let items = Arc::clone(&items);
            let judge = judge.clone();
            let pen = output.pen();
            thread::spawn(move || work(lanes, &items, &judge, &pen))
        })
        .collect();
    let mut lost = false;
    for worker in workers {
        match worker.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("this machine gives no event queue: {error}")),
            Err(_) => lost = true,
        }
    }
    // Whoever still waits to hand a target over is let go. Whoever waits for a line of a list that nobody wants any more is left behind.
    drop(items);
    let fed = match output.is_closed() {
        true => Fed { read: 1, wrong: 0 },
        false => feeder.join().map_err(|_| "reading the targets broke off".to_owned())?,
    };
    let done = output.finish();
    if let Err(error) = done.written {
        complain(&format!("the output could not be written: {error}"));
        return Ok(NOT_WITHIN_POLICY);
    }
    if fed.wrong > 0 {
        return Ok(WRONG_CALL);
    }
    if fed.read == 0 {
        return Err("there are no targets in what was given".into());
    }
    Ok(verdict(&done.tally, lost))
}

fn verdict(tally: &Tally, lost: bool) -> u8 {
    if !lost && Standing::ALL.into_iter().all(|standing| standing == Standing::Ok || tally.count(standing) == 0) {
        WITHIN_POLICY
    } else {
        NOT_WITHIN_POLICY
    }
}

/// One thread's share: dials, judges, hands over lines.
fn work(lanes: Lanes, items: &Queue, judge: &Judge, pen: &Pen) -> io::Result<()> {
    // One event loop per thread and no work moved between them: the cheapest way to wait for many sockets.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUPS)
        .thread_keep_alive(Duration::from_secs(1))
        .build()?;
    runtime.block_on(async {
        let mut tap = items.tap();
        let next = async || tap.next().await;
        let job = {
            let (judge, pen) = (judge.clone(), pen.clone());
            move |item: Item| {
                let (judge, pen) = (judge.clone(), pen.clone());
                async move {
                    let (report, further) = judge.look(item).await;
                    if let Some(report) = report {
                        pen.put(&report).await;
                    }
                    further
                }
            }
        };
        tokio::select! {
            () = lanes::run(lanes, next, job) => {}
            // Nobody reads any more (`| head`): what is in flight is dropped.
            () = pen.closed() => {}
            () = pen.keep_flushing() => {}
        }
        pen.flush().await;
    });
    // A look-up that hangs in the system's resolver cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    Ok(())
}

fn dialer(args: &ScanArgs) -> Result<Dialer, String> {
    let mut settings = Settings { rate_per_address: args.rate, ..Settings::default() };
    if let Some(seconds) = args.timeout {
        let limit = Duration::from_secs(seconds);
        settings.phases.connect = limit;
        settings.phases.starttls = limit;
        settings.phases.handshake = limit;
    }
    Dialer::new(settings).map_err(|failure| failure.to_string())
}

/// The roots from the files, else this system's.
fn roots(files: &[PathBuf]) -> Result<Roots, String> {
    if files.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        let (roots, _odd) = Roots::lenient(&found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
            return Err(format!("this system has no trusted roots{why}; give them with --ca"));
        }
        return Ok(roots);
    }
    let mut certificates = Vec::new();
    for file in files {
        let shown = file.display();
        let bytes = source::read_small(file).map_err(|error| format!("--ca {shown}: {error}"))?;
        let loaded = pki::load(&bytes, None, pki::Limits::default()).map_err(|error| format!("--ca {shown}: {error}"))?;
        if loaded.certificates.is_empty() {
            return Err(format!("--ca {shown}: no certificate in it"));
        }
        certificates.extend(loaded.certificates);
    }
    Roots::from_certificates(&certificates).map_err(|error| format!("--ca: {error}"))
}

/// The lanes of one thread, so that all threads together stay within the limit of open files.
fn lanes_within(concurrency: usize, descriptors: Option<usize>, threads: usize) -> Lanes {
    let wanted = Lanes::default();
    let room = descriptors.map_or(usize::MAX, |all| all.saturating_sub(OTHER_DESCRIPTORS).max(2));
    // At least a third stays for those who keep silent.
    let quick = concurrency.min(room.div_ceil(3) * 2);
    let patient = wanted.patient.max(quick).min(room - quick.min(room));
    Lanes { quick: quick.div_ceil(threads), patient: patient / threads, ..wanted }
}

/// The soft limit of open files, where the system says it.
fn descriptors() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_stay_within_the_descriptors() {
        let check = |concurrency, descriptors, threads| {
            let lanes = lanes_within(concurrency, descriptors, threads);
            assert!(lanes.quick >= 1);
            if let Some(all) = descriptors.filter(|all| *all > 2 * OTHER_DESCRIPTORS) {
                assert!((lanes.quick + lanes.patient) * threads <= all, "{concurrency} {all} {threads}: {lanes:?}");
            }
            lanes
        };
        check(256, Some(1024), 8);
        check(10_000, Some(1024), 2);
        check(1, Some(256), 1);
        check(65_536, Some(20_000), 8);
        assert_eq!(check(256, None, 1).quick, 256);
        assert_eq!(check(256, Some(20_000), 2).patient, 1024);
    }
}
