//! `perennial apply`: the inventory, from one file.

use std::path::{Path, PathBuf};

use api::fleet::{self, Fleet, MAX_FILE_BYTES, MAX_PEM_BYTES};
use api::v1::{Applied, Apply, InventoryChange};
use pki::text::escape;

use super::fleet_text::position;
use crate::error::{Error, Exit};
use crate::input::read_limited;
use crate::remote::LONG;
use crate::route::Route;
use crate::session::{Common, Session};
use crate::show::Screen;

/// Put the inventory in place that a file declares
///
/// Applying the same file twice changes nothing the second time. Nothing is removed without --prune, and what is pruned is retired,
/// not forgotten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The fleet file; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Retire what the file no longer names
    #[arg(long)]
    prune: bool,
    /// Only if the changes are those that an earlier --dry-run named by this hash
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let (name, text) = read(&args.file, session)?;
    let fleet = understand(&name, &text, &args.file, session.screen.now.unix())?;
    let body = Apply { fleet, dry_run: args.dry_run, prune: args.prune, plan: args.plan.clone() };
    let answer = session.remote.post_within(&Route::to(&["fleet"]), &body, LONG).await.map_err(|error| placed(error, &name, &text))?;
    let applied = session.answer(&answer, show)?;
    if !session.json {
        let line = summary(&applied, &args);
        session.screen.say(&line)?;
    }
    Ok(Exit::Ok)
}

fn read(path: &Path, session: &mut Session<'_, '_>) -> Result<(String, String), Error> {
    let (name, bytes) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), session.keyboard.all(MAX_FILE_BYTES).map(|bytes| bytes.to_vec()))
    } else {
        (escape(&path.display().to_string()), read_limited(path, MAX_FILE_BYTES))
    };
    let bytes = bytes.map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Error::Usage(format!("{name}:{line}: this is not UTF-8, as TOML must be")))
        }
    }
}

/// Everything that can be known without the server is said before anything is sent.
fn understand(name: &str, text: &str, path: &Path, now: i64) -> Result<Fleet, Error> {
    let mut fleet = fleet::parse_at(text, now).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("{name}:{}:{}: {}", error.line, error.column, error.message)).collect();
        not_sent(name, &lines)
    })?;
    let beside = path.parent().unwrap_or(Path::new(""));
    fleet::resolve_files(&mut fleet, |file| {
        let bytes = read_limited(&beside.join(file), MAX_PEM_BYTES).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|_| "this is not PEM".to_owned())
    })
    .map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| at_place(name, text, &problem.to_string())).collect();
        not_sent(name, &lines)
    })?;
    Ok(fleet)
}

/// Each problem on a line of its own that begins with its place, as editors know it.
fn not_sent(name: &str, lines: &[String]) -> Error {
    let count = match lines.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    Error::Usage(format!("{name} has {count}; nothing was sent\n{}", lines.join("\n")))
}

/// The server speaks of paths; the person has lines.
fn placed(error: Error, name: &str, text: &str) -> Error {
    match error {
        Error::Refused(mut problem) => {
            let says_all = problem.detail == problem.problems.join("; ");
            for each in &mut problem.problems {
                *each = at_place(name, text, each);
            }
            if says_all {
                problem.detail = problem.problems.join("; ");
            }
            Error::Refused(problem)
        }
        other => other,
    }
}

/// `fleet.toml:8:8: …` where a sentence begins with a path, else the sentence.
fn at_place(name: &str, text: &str, sentence: &str) -> String {
    match sentence.split_once(": ").and_then(|(path, rest)| position(text, path).map(|place| (place, rest))) {
        Some(((line, column), rest)) => format!("{name}:{line}:{column}: {rest}"),
        None => sentence.to_owned(),
    }
}

fn show(applied: &Applied, screen: &mut Screen<'_>) -> std::io::Result<()> {
    for change in &applied.changes {
        let mark = match change.what.as_str() {
            "add" => '+',
            "change" => '~',
            "retire" => '-',
            _ => '?',
        };
        screen.data(&format!("{mark} {} {} {}", escape(&change.what), escape(&change.kind), escape(&change.name)))?;
        for field in &change.fields {
            let (before, after) = (text_or_nothing(&field.before), text_or_nothing(&field.after));
            screen.data(&format!("    {}: {before} -> {after}", escape(&field.field)))?;
        }
    }
    Ok(())
}

fn text_or_nothing(text: &str) -> String {
    if text.is_empty() { "(nothing)".to_owned() } else { escape(text) }
}

fn summary(applied: &Applied, args: &Args) -> String {
    let is_left_over = |change: &&InventoryChange| change.what == "left-over";
    let left_over = applied.changes.iter().filter(is_left_over).count();
    let changes = applied.changes.len() - left_over;
    let mut line = match (changes, applied.done) {
        (0, _) => "nothing to change".to_owned(),
        (n, true) => format!("{n} changes made"),
        (n, false) => format!(
            "{n} changes would be made; to make exactly these: perennial apply --file {}{} --plan {}",
            escape(&args.file.display().to_string()),
            if args.prune { " --prune" } else { "" },
            escape(&applied.plan)
        ),
    };
    if left_over > 0 {
        line.push_str(&format!("; {left_over} that the file does not name stay, --prune retires them"));
    }
    line
}
