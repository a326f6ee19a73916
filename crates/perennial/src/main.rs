//! The program.
mod scan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps the certificates that keep production alive.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Scan(scan::ScanArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Scan(args) => scan::run(args),
    }
}
