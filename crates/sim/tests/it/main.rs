//! Scenarios: what passes, what must fail, and that a history repeats.

#![allow(clippy::unwrap_used, clippy::panic)]

use sim::{Detector, Options, Scenario, corpus, replay};
use std::collections::BTreeSet;

fn azure() -> Scenario {
    let (_, text) = corpus::ALL.iter().find(|(name, _)| *name == "azure-storage-2013").unwrap();
    Scenario::parse(text).unwrap()
}

fn without(detectors: &[&str]) -> Options {
    Options { seed: 1, without: detectors.iter().map(|d| Detector::parse(d).unwrap()).collect::<BTreeSet<_>>() }
}

#[test]
fn the_corpus_is_as_it_should_be() {
    for (name, text) in corpus::ALL {
        let scenario = Scenario::parse(text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(scenario.scenario.id, *name);
        let verdict = replay(&scenario, &Options::default()).unwrap();
        assert!(verdict.passed(), "{name}: {:#?}", verdict.failures);
        assert!(verdict.control.broke.is_some() && verdict.history.broke.is_none(), "{name}");
    }
}

#[test]
fn without_the_releases_detector_2013_happens_again() {
    let verdict = replay(&azure(), &without(&["D5"])).unwrap();
    assert_eq!(verdict.history.broke, verdict.control.broke, "nobody is told that the release is late, so nobody ships it");
    assert!(verdict.failures.iter().any(|f| f.contains("not told: release-late")), "{:?}", verdict.failures);
}

#[test]
fn one_seed_is_one_history() {
    let scenario = azure();
    let (one, same, other) = (
        replay(&scenario, &without(&[])).unwrap(),
        replay(&scenario, &without(&[])).unwrap(),
        replay(&scenario, &Options::default()).unwrap(),
    );
    assert_eq!(one.history.log, same.history.log);
    assert_eq!(one.history.journal, same.history.journal, "the store's own record is the same to the byte");
    assert_ne!(one.history.journal.1, other.history.journal.1, "another seed has other keys");
}

#[test]
fn a_scenario_without_an_outage_proves_nothing() {
    let (_, text) = corpus::ALL[0];
    let harmless = text.replace("until = \"2013-02-22T", "until = \"2014-02-22T");
    let verdict = replay(&Scenario::parse(&harmless).unwrap(), &Options::default()).unwrap();
    assert!(verdict.failures.iter().any(|f| f.contains("the control shows no outage")), "{:?}", verdict.failures);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let (_, text) = corpus::ALL[0];
    let cases = [
        ("pace = \"1d\"", "pase = \"1d\"", "unknown field `pase`"),
        ("within = \"1s\"", "within = \"soon\"", "`soon`"),
        ("serves = \"blob-2012\"", "serves = \"blob-2011\"", "no [[certificate]] is called `blob-2011`"),
        ("code = \"release-late\", team", "code = \"release-lat\", team", "`release-lat` is no rule"),
        ("kind = \"incident-opened\"", "kind = \"incident-open\"", "`incident-open` is no kind of message"),
        ("do = { release = {", "do = { relaese = {", "unknown variant `relaese`"),
    ];
    for (right, wrong, message) in cases {
        let broken = text.replacen(right, wrong, 1);
        let line = broken[..broken.find(wrong).unwrap()].matches('\n').count() + 1;
        let problem = Scenario::parse(&broken).unwrap_err();
        assert!(problem.message.contains(message), "{problem}");
        assert_eq!(problem.line, line, "{problem}");
    }
}

#[test]
fn what_could_never_happen_is_a_mistake() {
    let (_, text) = corpus::ALL[0];
    for (right, wrong, message) in [
        ("secret = \"blob\", team = \"secrets\"", "secret = \"blobs\", team = \"secrets\"", "no secret of the inventory is called `blobs`"),
        ("secret = \"blob\", team = \"secrets\"", "secret = \"blob\", team = \"secret\"", "no team of the inventory is called `secret`"),
        ("{ serve = { secret = \"blob\",", "{ serve = { secret = \"blob\", regions = [\"mars\"],", "no target of `blob` stands there"),
    ] {
        assert!(text.contains(right), "{right}");
        let error = replay(&Scenario::parse(&text.replacen(right, wrong, 1)).unwrap(), &Options::default()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
