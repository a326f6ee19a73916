#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use alloc::string::ToString;

#[test]
fn a_year_of_a_team_in_dublin() {
    let t = |s: &str| Time::parse(s).unwrap();
    let c = Calendar::parse(
        "Europe/Dublin",
        &[
            Freeze { why: "Christmas".into(), when: When::Range { from: "2026-12-15".into(), until: Some("2027-01-04".into()) } },
            Freeze { why: "weekend".into(), when: When::Weekly("fri 16:00 - mon 08:00".into()) },
            Freeze {
                why: "month end".into(),
                when: When::Recurring { start: "2026-01-31T00:00".into(), lasts: Span::days(2), rule: "FREQ=MONTHLY;BYMONTHDAY=-1".into() },
            },
        ],
    )
    .unwrap();
    assert_eq!(c.latest_open(t("2026-12-25T00:00:00Z")).map(|t| t.to_string()).as_deref(), Some("2026-12-14T23:59:59Z"));
    assert_eq!(c.next_open(t("2026-12-25T00:00:00Z")).map(|t| t.to_string()).as_deref(), Some("2027-01-04T08:00:00Z"));
    let train = Train::parse("2026-01-06T10:00", "FREQ=WEEKLY;INTERVAL=4", 1).unwrap();
    let d: Vec<_> = train.departures(&c, t("2026-06-01T00:00:00Z"), 1).iter().map(ToString::to_string).collect();
    assert_eq!(d[0], "2026-06-23T09:00:00Z");
}
