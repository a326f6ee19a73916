//! The program: one command from the line, done by the crate that knows how.

mod adopt;
mod cli;
mod clock;
mod demo;
mod examples;
mod release;
mod replay;
mod restore;
mod scan;
mod serve;
mod vantage;

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Keeps the certificates that keep production alive.
///
/// A renewal is done only when production has been seen serving it.
#[derive(Debug, Parser)]
#[command(name = "perennial", version, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  it was done, and nothing is due
  1  something is due or broken, or the server refused
  2  the call itself was wrong
  3  release scan: this build carries certificates and will miss a deadline
  4  the server did not answer

Data goes to standard output, talk to standard error. With --json each line is one JSON value.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Server(serve::Args),
    Restore(restore::Args),
    /// Look at TLS endpoints without a server
    Scan(scan::ScanArgs),
    Adopt(client::adopt::AdoptArgs),
    Release(release::Args),
    #[command(flatten)]
    Operate(client::Command),
    Vantage(vantage::Args),
    Replay(replay::Args),
}

fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        // Nothing was asked for, which is a wrong call; a standard error that is gone is no reason to fail otherwise.
        let _ = std::io::stderr().write_all(examples::START.as_bytes());
        return client::Exit::Usage.into();
    }
    let matches = examples::add(Arguments::command()).get_matches();
    match Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Demo(args) => demo::run(args),
        Command::Server(args) => serve::run(args),
        Command::Restore(args) => restore::run(&args),
        Command::Scan(args) => scan::run(args),
        Command::Adopt(args) => adopt::run(&args),
        Command::Release(args) => release::run(args),
        Command::Operate(command) => cli::run(command),
        Command::Vantage(args) => vantage::run(args),
        Command::Replay(args) => replay::run(&args),
    }
}

#[cfg(test)]
mod tests;
