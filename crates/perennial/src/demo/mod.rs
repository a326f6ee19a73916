//! `perennial demo`: the story of 2013-02-22 that does not happen, live, on real sockets, in a minute.
//!
//! A store on SQLite in a temporary folder, and three regions of machines on loopback that share three wildcard certificates, with lifetimes of
//! less than three minutes, so that the policy's fractions of the lifetime play out while one watches.

mod api;
mod machines;

mod story;

#[cfg(test)]
pub(crate) use story::TYPED;

use clap::Args as ClapArgs;
use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
};

/// Watch the outage of 2013 not happen: a store, three regions of nginx with agents, a renewal that is late
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// End when the story has ended: exit 0 if every step came true, 1 naming the one that did not
    #[arg(long)]
    once: bool,
    /// Where the API listens; a free port on loopback if absent
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
}

/// Tells the story.
pub(crate) fn run(args: Args) -> ExitCode {
    // Its messages are told in the story; between its lines they would hide it.
    crate::serve::log(false, "error");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "perennial: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut teller = Teller::new(std::io::stdout().is_terminal());
    match runtime.block_on(story::tell(&args, &mut teller)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            teller.say(&format!("this step did not come true: {broken}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes the story down as it happens.
pub(crate) struct Teller {
    colours: bool,
    began: tokio::time::Instant,
}

impl Teller {
    fn new(colours: bool) -> Teller {
        Teller { colours, began: tokio::time::Instant::now() }
    }

    /// A line, with the seconds since the beginning.
    pub(crate) fn say(&mut self, text: &str) {
        let seconds = self.began.elapsed().as_secs();
        let mut out = std::io::stdout().lock();
        let (dim, plain) = if self.colours { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        for (n, line) in text.lines().enumerate() {
            let _ = match n {
                0 => writeln!(out, "{dim}{seconds:>3} s{plain}  {line}"),
                _ => writeln!(out, "       {line}"),
            };
        }
        let _ = out.flush();
    }

    /// A heading.
    pub(crate) fn chapter(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let (bold, plain) = if self.colours { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        let _ = writeln!(out, "\n{bold}{text}{plain}");
    }
}
