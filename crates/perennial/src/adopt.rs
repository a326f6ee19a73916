//! `perennial adopt`: the looks that the plan is made from.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use client::Exit;
use client::adopt::{AdoptArgs, Disk, Found, Leaf, Looked, RunError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pki::Certificate;
use probe::{Attempt, Dialer, Offer, Overrides, Protocol, Settings, Target, lanes, lanes::Lanes};

use crate::clock;

/// Adopts what runs already; looks at each place once.
pub(crate) fn run(args: &AdoptArgs) -> ExitCode {
    let (mut out, mut talk) = (io::stdout().lock(), io::stderr());
    let done = client::adopt::run(args, clock::now(), &Disk, |found| look(found, args), &mut out, &mut talk);
    let exit = match &done {
        Ok(_) => Exit::Ok,
        Err(RunError::Usage(_) | RunError::Configurations(_) | RunError::Exists(_)) => Exit::Usage,
        Err(RunError::Nothing | RunError::Write { .. }) => Exit::Due,
    };
    if let Err(error) = done {
        // Nothing can be done about a standard error that is gone.
        let _ = io::Write::write_fmt(&mut talk, format_args!("perennial adopt: {error}\n"));
    }
    exit.into()
}

/// Dials every address of every place.
fn look(found: &[Found], args: &AdoptArgs) -> Vec<Looked> {
    let all_failed = |why: String| {
        let failed = |place| Looked { found: place, address: None, result: Err(why.clone()) };
        (0..found.len()).map(failed).collect()
    };
    let mut overrides = Overrides::default();
    for (name, addresses) in &args.resolve {
        overrides.set(name, addresses.clone());
    }
    let dialer = match Dialer::new(Settings { overrides, ..Settings::default() }) {
        Ok(dialer) => dialer,
        Err(failure) => return all_failed(failure.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return all_failed(format!("this machine gives no event queue: {error}")),
    };
    let bar = bar(found.len());
    let looked = Arc::new(Mutex::new(Vec::with_capacity(found.len())));
    let mut places = found.iter().map(target).enumerate().collect::<Vec<_>>().into_iter();
    let job = {
        let (dialer, looked, bar) = (dialer, Arc::clone(&looked), bar.clone());
        move |(place, target): (usize, Target)| {
            let (dialer, looked, bar) = (dialer.clone(), Arc::clone(&looked), bar.clone());
            async move {
                let attempts = dialer.look(&target, Offer::All).await;
                let seen = attempts.into_iter().map(|attempt| seen(place, attempt));
                looked.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
                bar.inc(1);
                Vec::new()
            }
        }
    };
    runtime.block_on(lanes::run(Lanes { quick: 64, patient: 512, ..Lanes::default() }, async || places.next(), job));
    // A look-up that hangs in the system's resolver cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    bar.finish_and_clear();
    std::mem::take(&mut *looked.lock().unwrap_or_else(PoisonError::into_inner))
}

fn bar(places: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(u64::try_from(places).ok(), ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} places, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn target(found: &Found) -> Target {
    Target {
        host: found.host.clone(),
        port: found.port,
        server_name: found.server_name.clone(),
        // Both lists have the same words; a test holds them together.
        protocol: Protocol::parse(found.protocol.as_str()).unwrap_or_default(),
        address: None,
    }
}

fn seen(place: usize, attempt: Attempt) -> Looked {
    let result = attempt.result.map_err(|failure| failure.to_string()).and_then(|presented| {
        let der = presented.chain.into_iter().next().ok_or_else(|| "no certificate was presented".to_owned())?;
        let leaf = Certificate::parse(der).map_err(|error| format!("the presented certificate cannot be read: {error}"))?;
        Ok(Leaf {
            names: leaf.names().iter().map(ToString::to_string).collect(),
            issuer: leaf.issuer().to_string(),
            not_after: leaf.not_after(),
            fingerprint: leaf.fingerprint(),
        })
    });
    Looked { found: place, address: attempt.address.map(|socket| socket.ip()), result }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_and_probes_know_the_same_protocols() {
        for (protocol, word) in api::fleet::Protocol::ALL {
            assert_eq!(Protocol::parse(word).map(Protocol::as_str), Some(protocol.as_str()));
        }
    }
}
