//! `perennial replay`: what the product does with outages of the public record, in simulated time.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use client::Exit;
use serde_json::json;
use sim::{Detector, Options, Scenario, Signal, Verdict};

/// Replay outages in simulated time, against the product's own rules
///
/// Each scenario is played twice: once with people who react to what they are told, and once as a control in which they do not. The
/// control must show the outage, at its time and reach. The same seed is the same history, to the byte.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenario files (docs/scenarios.md)
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    files: Vec<PathBuf>,
    /// Replay everything that the program brings along
    #[arg(long)]
    all: bool,
    /// What keys and identities are made from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Detectors that are blind, as in D4,D5
    #[arg(long, value_delimiter = ',', value_parser = Detector::parse, value_name = "DETECTOR")]
    without: Vec<Detector>,
    /// Show every decision of both histories
    #[arg(long)]
    trace: bool,
    /// One JSON object for each scenario
    #[arg(long)]
    json: bool,
}

/// Replays, and says how it went.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (out, talk) = (&mut io::stdout().lock(), &mut io::stderr());
    let exit = match replay(args, out) {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::Due,
        Err(problem) => {
            // Nothing can be done about a standard error that is gone.
            let _ = writeln!(talk, "perennial replay: {problem}");
            Exit::Usage
        }
    };
    exit.into()
}

fn replay(args: &Args, out: &mut impl Write) -> Result<bool, String> {
    let mut scenarios = Vec::new();
    if args.all {
        for (name, text) in sim::corpus::ALL {
            scenarios.push(Scenario::parse(text).map_err(|problem| format!("{name}: {problem}"))?);
        }
    }
    for path in &args.files {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        scenarios.push(Scenario::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))?);
    }
    let options = Options { seed: args.seed, without: args.without.iter().copied().collect::<BTreeSet<_>>() };
    let mut passed = 0;
    for scenario in &scenarios {
        let verdict = sim::replay(scenario, &options).map_err(|error| format!("{}: {error}", scenario.scenario.id))?;
        passed += usize::from(verdict.passed());
        let shown = if args.json { show_json(out, scenario, &verdict, args.trace) } else { show(out, scenario, &verdict, args.trace) };
        shown.map_err(|error| format!("standard output: {error}"))?;
    }
    if !args.json {
        writeln!(out, "{passed} of {} as they should be", scenarios.len()).map_err(|error| format!("standard output: {error}"))?;
    }
    Ok(passed == scenarios.len())
}

fn show(out: &mut impl Write, scenario: &Scenario, verdict: &Verdict, trace: bool) -> io::Result<()> {
    let (about, outage) = (&scenario.scenario, &scenario.outage);
    if trace {
        for (name, history) in [("people react", &verdict.history), ("control", &verdict.control)] {
            writeln!(out, "--- {}: {name}", about.id)?;
            history.log.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    writeln!(out, "{} ({}): {}", about.id, about.class, about.title)?;
    writeln!(out, "  outage   {}: {}", outage.at, outage.impact)?;
    match verdict.control.broke {
        Some(at) => {
            let (percent, targets) = verdict.control.worst;
            writeln!(out, "  control  breaks at {at}, {percent} % of all targets ({targets}) at the worst")?;
        }
        None => writeln!(out, "  control  shows no outage")?,
    }
    match verdict.history.broke {
        Some(at) => writeln!(out, "  with us  breaks at {at}, {} targets at the worst", verdict.history.worst.1)?,
        None => writeln!(out, "  with us  no client is turned away")?,
    }
    for (name, signal) in [("first", &verdict.first), ("second", &verdict.second)] {
        match signal {
            Some(s) => writeln!(out, "  {name:<8} {}", sentence(s, scenario))?,
            None => writeln!(out, "  {name:<8} nothing")?,
        }
    }
    verdict.failures.iter().try_for_each(|failure| writeln!(out, "  FAILED   {failure}"))?;
    writeln!(out, "  {}", if verdict.passed() { "as it should be" } else { "not as it should be" })
}

fn sentence(signal: &Signal, scenario: &Scenario) -> String {
    let detector = signal.detector.map_or_else(String::new, |d| format!("{d} ({}) ", d.watches()));
    let lead = scenario.outage.at - signal.at;
    format!("{detector}tells {} at {}, {lead} before: {}", signal.team, signal.at, signal.title)
}

fn show_json(out: &mut impl Write, scenario: &Scenario, verdict: &Verdict, trace: bool) -> io::Result<()> {
    let signal = |signal: &Option<Signal>| {
        signal.as_ref().map(|s| {
            json!({ "at": s.at.to_string(), "detector": s.detector.map(|d| d.to_string()), "kind": s.kind, "code": s.code, "team": s.team, "title": s.title })
        })
    };
    let history = |history: &sim::History| {
        let mut value = json!({
            "broke_at": history.broke.map(|t| t.to_string()),
            "worst_percent": history.worst.0,
            "worst_targets": history.worst.1,
            "journal_entries": history.journal.0,
            "journal_hash": history.journal.1,
        });
        if trace {
            value["log"] = json!(history.log);
        }
        value
    };
    let value = json!({
        "id": scenario.scenario.id,
        "class": scenario.scenario.class,
        "outage_at": scenario.outage.at.to_string(),
        "first": signal(&verdict.first),
        "second": signal(&verdict.second),
        "lead_seconds": verdict.lead.map(|lead| lead.as_secs()),
        "detectors": verdict.detectors().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "with_us": history(&verdict.history),
        "control": history(&verdict.control),
        "failures": verdict.failures,
        "passed": verdict.passed(),
    });
    writeln!(out, "{value}")
}
