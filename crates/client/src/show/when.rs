//! Moments with their zone and with what is left, and shares.

use pki::text::escape;
use pki::{Span, Time};

/// "2027-02-22 20:29:53Z, in 91 d". What is no time is shown as it came, escaped.
pub(crate) fn moment(text: &str, now: Time) -> String {
    let Ok(at) = Time::parse(text) else { return escape(text) };
    if at.is_no_expiry() {
        return "no expiry".to_owned();
    }
    format!("{}, {}", at.to_string().replacen('T', " ", 1), left(at - now))
}

/// "in 91 d", "3 d ago", "now".
pub(crate) fn left(span: Span) -> String {
    match span.as_secs() {
        0 => "now".to_owned(),
        seconds if seconds > 0 => format!("in {span}"),
        seconds => format!("{} ago", Span::seconds(seconds.saturating_neg())),
    }
}

/// A share in tenths of a percent: "12.3 %". What is something is never shown as nothing.
pub(crate) fn share(per_mille: u32, part: u32) -> String {
    if per_mille == 0 && part > 0 { "< 0.1 %".to_owned() } else { format!("{}.{} %", per_mille / 10, per_mille % 10) }
}

/// Until when production serves: a moment, "broken now", or "unknown" until every required look succeeded once.
pub(crate) fn served(text: &str, now: Time) -> String {
    match text {
        "unknown" => "unknown".to_owned(),
        "broken" => "broken now".to_owned(),
        other => moment(other, now),
    }
}
