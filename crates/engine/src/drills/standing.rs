//! What is kept of a drill as JSON: its reasons and its steps, in the words of the rules.

use domain::{
    Span,
    drill::{
        measure::{Report, Spread, Step, Steps},
        reason::{Reason, Why},
    },
};
use serde_json::{Map, Value, json};

/// Most targets or channels that a drill's reasons name; the rest is counted.
const MOST_REASONS: usize = 50;

/// Why it failed, as it is kept.
pub fn reasons_column(reasons: &[Reason]) -> String {
    let more = reasons.len().saturating_sub(MOST_REASONS);
    let shown = reasons.iter().take(MOST_REASONS).cloned();
    let rest = reasons.first().filter(|_| more > 0).map(|first| Reason::new(first.why, format!("and {more} more")));
    let all: Vec<Value> = shown.chain(rest).map(|r| json!({ "why": r.why.as_str(), "about": r.about, "detail": r.detail })).collect();
    Value::Array(all).to_string()
}

/// Why it failed, as it was kept. What a later program wrote and this one does not know is left out.
pub fn reasons(column: &str) -> Vec<Reason> {
    let list: Vec<Value> = serde_json::from_str(column).unwrap_or_default();
    list.iter()
        .filter_map(|r| {
            let text = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
            Some(Reason { why: Why::parse(&text("why"))?, about: text("about"), detail: text("detail") })
        })
        .collect()
}

/// What it took, as it is kept: each step in all and by wave, in seconds.
pub fn steps_column(report: &Report) -> String {
    let waves: Map<String, Value> = report.waves.iter().map(|(wave, s)| (wave.to_string(), steps(s))).collect();
    json!({ "all": steps(&report.all), "waves": waves }).to_string()
}

fn steps(steps: &Steps) -> Value {
    let one = |s: &Spread| json!({ "n": s.n, "p50": s.p50.as_secs(), "p95": s.p95.as_secs(), "max": s.max.as_secs() });
    Value::Object(steps.iter().map(|(step, spread)| (step.as_str().to_owned(), one(spread))).collect())
}

/// One step of one wave, or of all of them (none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The wave, 0-based; none for all together.
    pub wave: Option<u32>,
    /// Which step.
    pub step: Step,
    /// How it was spread.
    pub spread: Spread,
}

/// What it took, as it was kept: all together first, then wave by wave.
pub fn measured(column: &str) -> Vec<Measured> {
    let whole: Value = serde_json::from_str(column).unwrap_or_default();
    let of = |wave: Option<u32>, steps: &Value| -> Vec<Measured> {
        let one = |step: &Step| {
            let s = steps.get(step.as_str())?;
            let span = |key: &str| Some(Span::seconds(s[key].as_i64()?));
            let spread = Spread { n: s["n"].as_u64()?, p50: span("p50")?, p95: span("p95")?, max: span("max")? };
            Some(Measured { wave, step: *step, spread })
        };
        Step::ALL.iter().filter_map(one).collect()
    };
    let mut all = of(None, &whole["all"]);
    let mut waves: Vec<(u32, &Value)> =
        whole["waves"].as_object().into_iter().flatten().filter_map(|(wave, s)| Some((wave.parse().ok()?, s))).collect();
    waves.sort_by_key(|(wave, _)| *wave);
    for (wave, s) in waves {
        all.extend(of(Some(wave), s));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Time, drill::measure::Marks};

    #[test]
    fn what_is_kept_comes_back() {
        let at = |n| Some(Time::from_unix(n));
        let marks: Vec<Marks> =
            (0..12).map(|n| Marks { wave: n, issued: at(1), observed: at(i64::from(n) + 5), ..Marks::default() }).collect();
        let report = Report::of(Time::from_unix(0), &marks);
        let back = measured(&steps_column(&report));
        assert_eq!(back[0], Measured { wave: None, step: Step::Issued, spread: report.all[&Step::Issued] });
        assert_eq!(back.last().map(|m| m.wave), Some(Some(11)), "waves in the order of their numbers");
        assert_eq!(back.iter().filter(|m| m.step == Step::Whole).count(), 13);
        let reasons = vec![Reason::about(Why::ChannelSilent, "team/pagerduty", "503"), Reason::new(Why::TooSlow, "late")];
        assert_eq!(super::reasons(&reasons_column(&reasons)), reasons);
        let many = vec![Reason::new(Why::Unobserved, "x"); 60];
        assert_eq!(super::reasons(&reasons_column(&many)).last().map(|r| r.detail.clone()), Some("and 10 more".into()));
        assert_eq!((measured("damaged"), super::reasons("damaged")), (Vec::new(), Vec::new()));
    }
}
