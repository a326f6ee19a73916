//! What will break: `forecast`, and what everything hangs on: `spof`.

use api::v1::{Break, BreakGroup, Forecast, Missed, SinglePoint, SinglePoints};
use pki::text::escape;
use pki::{Span, Time};
use serde_json::Value;

use super::{span, time};
use crate::error::{Error, Exit};
use crate::remote::parse;
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::{Cell, Column, Listed, Paint, Table, moment};

/// Most lines that are asked for at once; the server gives no more.
const MOST: u64 = 10_000;

/// What breaks if all goes as planned and nothing else happens
///
/// One line for each certificate, date and rescue; with --json one value for each target. What is broken is named with the present
/// moment, and targets that were never observed are counted apart. Exit status 1: something breaks before the date.
#[derive(Debug, clap::Args)]
pub struct ForecastArgs {
    /// Breaks before this moment, such as 2027-06-01; a year from now unless told otherwise
    #[arg(long, value_name = "DATE", value_parser = time)]
    until: Option<Time>,
    /// What if this release came later, such as 12=14d or storage/2027.3=14d; may be given several times
    #[arg(long, value_name = "RELEASE=SPAN", value_parser = delay)]
    delay: Vec<String>,
    /// What if this release did not come; may be given several times
    #[arg(long, value_name = "RELEASE", value_parser = one)]
    cancel: Vec<String>,
    /// What if nothing planned reached this region from now on; may be given several times
    #[arg(long, value_name = "REGION", value_parser = one)]
    silence_region: Vec<String>,
    /// Only targets of this secret
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// Only targets of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What production hangs on besides its certificates
///
/// One issuer, root, organisation, validation method, DNS provider, contact, vantage or region on which all of production or all of a
/// service hangs, that on which the most hangs first. Exit status 1: there is one.
#[derive(Debug, clap::Args)]
pub struct SpofArgs {
    #[command(flatten)]
    pub(super) common: Common,
}

/// A name that can stand in a list.
fn one(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(',') {
        return Err("one name without commas; name a release by its number, and give the option several times for several".into());
    }
    Ok(text.to_owned())
}

fn delay(text: &str) -> Result<String, String> {
    let (release, by) = text.rsplit_once('=').ok_or("RELEASE=SPAN, such as 12=14d")?;
    span(by)?;
    one(release)?;
    Ok(text.to_owned())
}

pub(super) async fn forecast(args: ForecastArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let list = |names: &[String]| (!names.is_empty()).then(|| names.join(","));
    let route = Route::to(&["forecast"])
        .ask_if("until", args.until.map(|t| t.to_string()).as_deref())
        .ask_if("delay", list(&args.delay).as_deref())
        .ask_if("cancel", list(&args.cancel).as_deref())
        .ask_if("silence", list(&args.silence_region).as_deref())
        .ask_if("secret", args.secret.as_deref())
        .ask_if("service", args.service.as_deref())
        .ask_if("grouped", (!session.json).then_some("true"));
    let wanted = args.paging.wanted();
    let mut after = args.paging.after().map(str::to_owned);
    let mut shown = 0;
    let mut table = Table::new(BreakGroup::COLUMNS);
    let whole = loop {
        let limit = (wanted - shown).min(MOST).to_string();
        let asked = route.clone().ask("limit", &limit).ask_if("after", after.as_deref());
        let answer = session.remote.get(&asked).await?;
        let mut page: Forecast = parse(&answer)?;
        if session.json {
            for target in answer.get("targets").and_then(Value::as_array).into_iter().flatten() {
                parse::<Break>(target)?;
                session.screen.data(&target.to_string())?;
            }
        }
        page.groups.iter().for_each(|group| table.add(group.row(session.screen.now)));
        let got = if session.json { page.targets.len() } else { page.groups.len() } as u64;
        shown += got;
        let next = page.next.take();
        let progress = got > 0 && next != after;
        after = next;
        if after.is_none() || shown >= wanted || !progress {
            break page;
        }
    };
    if !session.json {
        session.screen.table(&table)?;
    }
    for line in summary(&whole, session.screen.now) {
        session.screen.say(&line)?;
    }
    session.tell_next(after.as_deref())?;
    Ok(Exit::due(whole.breaking > 0))
}

/// All of it in numbers, one sentence each.
fn summary(it: &Forecast, now: Time) -> Vec<String> {
    let until = escape(&it.until);
    let mut lines = vec![match &it.first {
        Some(first) => {
            format!("{} of {} production targets break before {until}; the first {}", it.breaking, it.production, moment(first, now))
        }
        None => format!("none of {} production targets breaks before {until}", it.production),
    }];
    if it.broken > 0 {
        lines.push(format!("{} of them are broken now", it.broken));
    }
    if it.unknown > 0 {
        let names: Vec<String> = it.unknown_first.iter().map(|n| escape(n)).collect();
        let more = match it.unknown - it.unknown_first.len() as u64 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        lines.push(format!("{} were never observed, so nobody can say: {}{more}", it.unknown, names.join(", ")));
    }
    if let Some(others) = it.others.filter(|n| *n > 0) {
        lines.push(format!("{others} targets that are not production are left out"));
    }
    lines
}

impl Listed for BreakGroup {
    const COLUMNS: &'static [Column] = &[
        Column::Left("BREAKS"),
        Column::Right("TARGETS"),
        Column::Right("SHARE"),
        Column::Left("CERTIFICATE"),
        Column::Left("REGIONS"),
        Column::Left("WOULD BE SAVED BY"),
        Column::Left("TARGETS, THE FIRST"),
    ];

    fn row(&self, now: Time) -> Vec<Cell> {
        let breaks = if self.broken { "broken now".to_owned() } else { moment(&self.breaks_at, now) };
        let certificate = match (&self.certificate, self.position) {
            (Some(fingerprint), Some(0)) => format!("{}… (leaf)", escape(fingerprint.get(..12).unwrap_or(fingerprint))),
            (Some(fingerprint), Some(_)) => format!("{}… (above)", escape(fingerprint.get(..12).unwrap_or(fingerprint))),
            _ => "unknown".to_owned(),
        };
        vec![
            Cell::painted(&breaks, Paint::Bad),
            Cell::new(&self.targets.to_string()),
            Cell::new(&share(self.share_basis_points)),
            Cell::new(&certificate),
            Cell::new(&some(&self.regions, self.regions.len() as u64)),
            Cell::new(&self.rescue.as_ref().map_or_else(|| "nothing planned".to_owned(), rescue)),
            Cell::new(&some(&self.first_targets, self.targets)),
        ]
    }
}

/// Names that are shown, and how many are not.
fn some(names: &[String], of: u64) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|n| if n.is_empty() { "(none)" } else { n }).collect();
    match of.saturating_sub(shown.len() as u64) {
        0 => shown.join(", "),
        n => format!("{}, …(+{n})", shown.join(", ")),
    }
}

/// 3333 is 33.33 %.
fn share(basis_points: u64) -> String {
    format!("{}.{:02} %", basis_points / 100, basis_points % 100)
}

fn rescue(m: &Missed) -> String {
    match m.late_seconds {
        Some(late) => format!("{}, {} too late", m.name, Span::seconds(late)),
        None => format!("{}, due {}, not observed", m.name, m.arrives_at),
    }
}

pub(super) async fn spof(session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.get(&Route::to(&["spof"])).await?;
    let it: SinglePoints = parse(&answer)?;
    let items: Vec<Value> = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    session.show_items::<SinglePoint>(&items, "nothing that is known is a single point of failure")?;
    if it.more > 0 {
        session.screen.say(&format!("and {} more, on which less hangs", it.more))?;
    }
    Ok(Exit::due(!it.items.is_empty()))
}

impl Listed for SinglePoint {
    const COLUMNS: &'static [Column] = &[
        Column::Left("KIND"),
        Column::Left("WHAT"),
        Column::Right("TARGETS"),
        Column::Right("SHARE"),
        Column::Left("DETAIL"),
        Column::Left("NEXT"),
    ];

    fn row(&self, _: Time) -> Vec<Cell> {
        vec![
            Cell::new(&self.kind),
            Cell::painted(&self.what, if self.unknown { Paint::Faint } else { Paint::Plain }),
            Cell::new(&self.targets.to_string()),
            Cell::new(&share((self.targets * 10_000).checked_div(self.of).unwrap_or(0))),
            Cell::new(&self.detail),
            Cell::new(&self.next_step),
        ]
    }
}
