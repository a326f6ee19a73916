//! `perennial restore`: offline, on the machine where the store lies.

use clap::Args as ClapArgs;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Put a backup in place; a new epoch of the journal begins (SQLite; the server must not run)
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The folder of the store
    #[arg(long, env = "PERENNIAL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Why; written into the journal
    #[arg(long, default_value = "restored from a backup", value_name = "TEXT")]
    reason: String,
}

/// Restores.
pub(crate) fn run(args: &Args) -> ExitCode {
    match server::restore::restore(&args.data, &args.from, &args.reason) {
        Ok(done) => {
            let mut talk = std::io::stderr();
            let _ =
                writeln!(talk, "{} is in place: {} journal entries, epoch {} begins", done.database.display(), done.entries, done.epoch);
            let _ =
                writeln!(talk, "everything is looked at again when the server starts; what changed since the backup is found by looking");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "perennial: {error}");
            ExitCode::FAILURE
        }
    }
}
