//! `perennial restore`: offline, on the machine where the store lies.

use clap::Args as ClapArgs;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Put a backup in place; a new epoch of the journal begins (the server must not run)
///
/// SQLite: --data and --from. PostgreSQL: restore with its own tools first, then give --database.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The folder of the store
    #[arg(long, env = "PERENNIAL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The backup of a SQLite database
    #[arg(long, value_name = "FILE", requires = "data")]
    from: Option<PathBuf>,
    /// The PostgreSQL database that was restored
    #[arg(long, env = "PERENNIAL_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Why; written into the journal
    #[arg(long, default_value = "restored from a backup", value_name = "TEXT")]
    reason: String,
}

/// Restores.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match (&args.data, &args.from, &args.database) {
        (Some(data), Some(from), _) => {
            server::restore::restore(data, from, &args.reason).map(|done| (done.database.display().to_string(), done.epoch, done.entries))
        }
        (_, _, Some(url)) if url.starts_with("postgres") => {
            server::restore::restored(url, &args.reason).map(|(epoch, entries)| ("the database".to_owned(), epoch, entries))
        }
        _ => {
            let _ = writeln!(
                std::io::stderr(),
                "perennial: give --data DIR --from FILE for SQLite, or --database URL for a PostgreSQL database that was restored"
            );
            return client::Exit::Usage.into();
        }
    };
    let mut talk = std::io::stderr();
    match done {
        Ok((what, epoch, entries)) => {
            let _ = writeln!(talk, "{what} is in place: {entries} journal entries, epoch {epoch} begins");
            let _ =
                writeln!(talk, "everything is looked at again when the server starts; what changed since the backup is found by looking");
            let _ =
                writeln!(talk, "what was revoked since the backup is on no list any more: revoke it again with `perennial cert revoke`");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(talk, "perennial: {error}");
            ExitCode::FAILURE
        }
    }
}
