//! `perennial release`: what a build carries, and by when it must ship.

mod lines;
mod online;
mod scan;

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

/// Builds and the certificates that they carry
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Scan(scan::Args),
    #[command(flatten)]
    Operate(client::ReleaseCommand),
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Scan(args) => scan::run(&args),
        Command::Operate(command) => crate::cli::run(client::Command::Release(command)),
    }
}
