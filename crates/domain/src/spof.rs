//! Single points of failure besides certificates: what all of production, or all of a service, hangs on.

use crate::words::word;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

word!(
    /// What is single.
    Kind {
        /// The certificate that issues.
        Issuer = "issuer",
        /// The root above it.
        Root = "root",
        /// The organisation that runs the issuing certificate.
        Organisation = "organisation",
        /// How the issuer convinces itself that names are ours.
        Validation = "validation",
        /// Who answers for names while it does.
        DnsProvider = "dns-provider",
        /// The one way to tell a team.
        Contact = "contact",
        /// The one place that targets are seen from.
        Vantage = "vantage",
        /// The region that all others need.
        Region = "region",
    }
);

impl Kind {
    /// What to do about it.
    pub const fn next_step(self) -> &'static str {
        match self {
            Kind::Issuer => "keep a second issuing certificate ready, and renew part of production under it",
            Kind::Root => "keep an issuer under a second root ready that every client trusts",
            Kind::Organisation => "open an account with a second CA, and renew part of production there",
            Kind::Validation => "prove a second validation method, so that a renewal does not wait for the first",
            Kind::DnsProvider => "serve the names from a second DNS provider, or validate without DNS",
            Kind::Contact => "give the team a second contact on another channel, and an escalation",
            Kind::Vantage => "declare a second vantage elsewhere: a fault of the only one looks like a fault of everything",
            Kind::Region => "let the others work without it, or say what they do when it is gone",
        }
    }
}

/// So many production targets of a service, all alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// The service, empty for none.
    pub service: String,
    /// Their region, empty for none.
    pub region: String,
    /// The team that answers, empty for nobody.
    pub team: String,
    /// Every vantage that looks at them.
    pub vantages: BTreeSet<String>,
    /// How the issuer validates, empty where nobody said.
    pub validation: String,
    /// Who serves their names, empty where nobody said.
    pub dns_provider: String,
    /// How many.
    pub targets: u64,
}

/// So many production targets of a service under one issuing certificate and root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Under {
    /// The service, empty for none.
    pub service: String,
    /// The issuing certificate's name, escaped; empty where it was never seen.
    pub issuer: String,
    /// The root's name, escaped; empty where none is known.
    pub root: String,
    /// How many.
    pub targets: u64,
}

/// How a team can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// The channel of each contact.
    pub channels: Vec<String>,
    /// Whether somebody else hears where it does not react.
    pub escalates: bool,
}

/// Everything that the rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Production, in groups that are alike.
    pub alike: Vec<Alike>,
    /// Production that was observed, by what it hangs on.
    pub under: Vec<Under>,
    /// The teams.
    pub teams: BTreeMap<String, Team>,
    /// The regions, and what each of them needs.
    pub needs: BTreeMap<String, BTreeSet<String>>,
}

/// One single point of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is single.
    pub kind: Kind,
    /// Its name.
    pub what: String,
    /// Whether it is not known, so that it may be single.
    pub unknown: bool,
    /// How many production targets hang on it.
    pub targets: u64,
    /// Of how many.
    pub of: u64,
    /// The services of which everything hangs on it.
    pub services: Vec<String>,
    /// The sentence.
    pub detail: String,
}

/// What is single, that on which the most hangs first.
pub fn assess(facts: &Facts) -> Vec<Line> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for a in &facts.alike {
        *sizes.entry(&a.service).or_default() += a.targets;
    }
    let all = sizes.values().sum();
    let mut it = Report { sizes, all, lines: Vec::new() };
    it.kind(Kind::Issuer, facts.under.iter().map(|u| (u.issuer.clone(), &*u.service, u.targets)));
    it.kind(Kind::Root, facts.under.iter().map(|u| (u.root.clone(), &*u.service, u.targets)));
    it.kind(Kind::Organisation, facts.under.iter().map(|u| (organisation(&u.issuer).into(), &*u.service, u.targets)));
    it.kind(Kind::Validation, facts.alike.iter().map(|a| (a.validation.clone(), &*a.service, a.targets)));
    it.kind(Kind::DnsProvider, facts.alike.iter().map(|a| (a.dns_provider.clone(), &*a.service, a.targets)));
    let seen_once = facts.alike.iter().filter(|a| a.vantages.len() == 1);
    it.kind(Kind::Vantage, seen_once.map(|a| (a.vantages.iter().next().cloned().unwrap_or_default(), &*a.service, a.targets)));
    it.contacts(facts);
    it.regions(facts);
    it.lines.sort_by(|a, b| b.targets.cmp(&a.targets).then_with(|| (a.kind, &a.what).cmp(&(b.kind, &b.what))));
    it.lines
}

struct Report<'a> {
    sizes: BTreeMap<&'a str, u64>,
    all: u64,
    lines: Vec<Line>,
}

impl<'a> Report<'a> {
    /// A line for each thing on which all of a service hangs; what nobody knows is said once.
    fn kind(&mut self, kind: Kind, hangs: impl Iterator<Item = (String, &'a str, u64)>) {
        let mut by: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
        for (what, service, targets) in hangs {
            *by.entry(what).or_default().entry(service).or_default() += targets;
        }
        for (what, services) in by {
            let targets: u64 = services.values().sum();
            let whole: Vec<String> =
                services.iter().filter(|(s, n)| !s.is_empty() && self.sizes.get(**s) == Some(*n)).map(|(s, _)| s.to_string()).collect();
            let unknown = what.is_empty();
            if targets == 0 || (whole.is_empty() && targets < self.all && !unknown) {
                continue;
            }
            let detail = if unknown {
                format!("of {targets} of {} production targets the {kind} is not known, so it may be the same for all of them", self.all)
            } else {
                format!("{} hang on one {kind}", self.share(targets, whole.len()))
            };
            let what = if unknown { String::from("unknown") } else { what };
            self.lines.push(Line { kind, what, unknown, targets, of: self.all, services: whole, detail });
        }
    }

    fn share(&self, targets: u64, whole: usize) -> String {
        let all = if targets == self.all { "all " } else { "" };
        let services = match whole {
            0 => String::new(),
            1 => String::from(", all of one service,"),
            n => format!(", all of {n} services,"),
        };
        format!("{all}{targets} of {} production targets{services}", self.all)
    }

    fn contacts(&mut self, facts: &'a Facts) {
        let mut by: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for a in &facts.alike {
            *by.entry(&a.team).or_default().entry(&a.service).or_default() += a.targets;
        }
        for (team, services) in by {
            let targets: u64 = services.values().sum();
            let why = match facts.teams.get(team) {
                None => "nobody answers for them, so only the server's log is told".to_string(),
                Some(t) if t.channels.iter().all(|c| c == "log") => "the server's log is all that hears of them".to_string(),
                Some(t) if t.channels.len() == 1 && !t.escalates => format!("one {} is told, and nobody where that fails", t.channels[0]),
                Some(_) => continue,
            };
            let sizes = &self.sizes;
            let whole: Vec<String> =
                services.iter().filter(|(s, n)| !s.is_empty() && sizes.get(**s) == Some(*n)).map(|(s, _)| s.to_string()).collect();
            let what = if facts.teams.contains_key(team) { team.to_string() } else { String::from("nobody") };
            let detail = format!("{}: {why}", self.share(targets, whole.len()));
            self.lines.push(Line { kind: Kind::Contact, what, unknown: false, targets, of: self.all, services: whole, detail });
        }
    }

    /// A region that all others need, directly or through others.
    fn regions(&mut self, facts: &'a Facts) {
        if facts.needs.len() < 2 {
            return;
        }
        for region in facts.needs.keys() {
            let needing = |r: &String| r == region || needs(&facts.needs, r).contains(region);
            if !facts.needs.keys().all(needing) {
                continue;
            }
            let (mut targets, mut services) = (0, BTreeMap::<&str, u64>::new());
            for a in facts.alike.iter().filter(|a| facts.needs.contains_key(&a.region)) {
                targets += a.targets;
                *services.entry(&a.service).or_default() += a.targets;
            }
            let whole: Vec<String> =
                services.iter().filter(|(s, n)| !s.is_empty() && self.sizes.get(**s) == Some(*n)).map(|(s, _)| s.to_string()).collect();
            let detail = format!("{} are in regions that do not work without it", self.share(targets, whole.len()));
            let (kind, what) = (Kind::Region, region.clone());
            self.lines.push(Line { kind, what, unknown: false, targets, of: self.all, services: whole, detail });
        }
    }
}

/// What a region needs, directly or through others.
fn needs<'a>(all: &'a BTreeMap<String, BTreeSet<String>>, region: &'a str) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = alloc::vec![region];
    while let Some(next) = open.pop() {
        for needed in all.get(next).into_iter().flatten() {
            if found.insert(needed) {
                open.push(needed);
            }
        }
    }
    found
}

/// The organisation in a name as people see it (`CN=R3, O=Example Trust, C=US`); empty where there is none.
pub fn organisation(name: &str) -> &str {
    name.split(", ").find_map(|part| part.strip_prefix("O=")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(service: &str, region: &str, team: &str, vantages: &[&str], targets: u64) -> Alike {
        let text = |s: &str| s.to_string();
        Alike {
            service: text(service),
            region: text(region),
            team: text(team),
            vantages: vantages.iter().map(|v| text(v)).collect(),
            validation: text(if service == "mail" { "" } else { "dns-01" }),
            dns_provider: text("example-dns"),
            targets,
        }
    }

    fn under(service: &str, issuer: &str, root: &str, targets: u64) -> Under {
        Under { service: service.to_string(), issuer: issuer.to_string(), root: root.to_string(), targets }
    }

    fn facts() -> Facts {
        let team = |channels: &[&str], escalates| Team { channels: channels.iter().map(ToString::to_string).collect(), escalates };
        let needs = |list: &[&str]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        Facts {
            alike: alloc::vec![
                alike("blob", "eu", "storage", &["local", "us"], 6),
                alike("blob", "us", "storage", &["local"], 2),
                alike("mail", "eu", "post", &["local"], 2),
            ],
            under: alloc::vec![
                under("blob", "CN=R3, O=Example Trust, C=US", "CN=Root", 5),
                under("blob", "CN=R4, O=Example Trust, C=US", "CN=Root", 3),
                under("mail", "CN=Own", "CN=Root", 1),
                under("mail", "", "", 1),
            ],
            teams: [("storage".to_string(), team(&["webhook", "log"], false)), ("post".to_string(), team(&["webhook"], false))].into(),
            needs: [("eu".to_string(), needs(&["us"])), ("us".to_string(), needs(&[]))].into(),
        }
    }

    fn shape(lines: &[Line]) -> Vec<(&'static str, &str, u64, String)> {
        lines.iter().map(|l| (l.kind.as_str(), l.what.as_str(), l.targets, l.services.join(" "))).collect()
    }

    #[test]
    fn what_everything_or_all_of_a_service_hangs_on() {
        let lines = assess(&facts());
        assert_eq!(
            shape(&lines),
            [
                ("dns-provider", "example-dns", 10, "blob mail".into()),
                ("region", "us", 10, "blob mail".into()),
                ("root", "CN=Root", 9, "blob".into()),
                ("organisation", "Example Trust", 8, "blob".into()),
                ("validation", "dns-01", 8, "blob".into()),
                ("vantage", "local", 4, "mail".into()),
                ("organisation", "unknown", 2, "mail".into()),
                ("validation", "unknown", 2, "mail".into()),
                ("contact", "post", 2, "mail".into()),
                ("issuer", "unknown", 1, String::new()),
                ("root", "unknown", 1, String::new()),
            ]
        );
        assert_eq!(lines[0].detail, "all 10 of 10 production targets, all of 2 services, hang on one dns-provider");
        assert!(lines.iter().all(|l| l.of == 10));
    }

    #[test]
    fn contacts() {
        let team = |channels: &[&str], escalates| Team { channels: channels.iter().map(ToString::to_string).collect(), escalates };
        for (it, single) in [
            (Some(team(&["webhook", "pagerduty"], false)), false),
            (Some(team(&["webhook"], true)), false),
            (Some(team(&["webhook"], false)), true),
            (Some(team(&["log"], true)), true),
            (Some(team(&["log", "log"], true)), true),
            (Some(team(&[], true)), true),
            (Some(team(&["log", "webhook"], false)), false),
            (None, true),
        ] {
            let teams = it.clone().map(|t| ("a".to_string(), t)).into_iter().collect();
            let facts = Facts { alike: alloc::vec![alike("blob", "", "a", &["x", "y"], 1)], teams, ..Facts::default() };
            let found = assess(&facts).iter().any(|l| l.kind == Kind::Contact);
            assert_eq!(found, single, "{it:?}");
        }
    }

    #[test]
    fn a_region_is_needed_through_others_too() {
        let check = |pairs: &[(&str, &[&str])], wanted: &[&str]| {
            let needs = pairs.iter().map(|(r, n)| (r.to_string(), n.iter().map(ToString::to_string).collect())).collect();
            let facts = Facts { needs, alike: alloc::vec![alike("blob", pairs[0].0, "a", &["x", "y"], 1)], ..Facts::default() };
            let lines = assess(&facts);
            let got: Vec<_> = lines.iter().filter(|l| l.kind == Kind::Region).map(|l| l.what.as_str()).collect();
            assert_eq!(got, wanted, "{pairs:?}");
        };
        check(&[("a", &["b"]), ("b", &["c"]), ("c", &[])], &["c"]);
        check(&[("a", &["b"]), ("b", &["a"])], &["a", "b"]);
        check(&[("a", &["b"]), ("b", &[]), ("c", &[])], &[]);
        check(&[("a", &[])], &[]);
        check(&[("a", &["a"]), ("b", &["a"])], &["a"]);
    }

    #[test]
    fn organisations() {
        for (name, wanted) in [("CN=R3, O=Let's Encrypt, C=US", "Let's Encrypt"), ("O=X", "X"), ("CN=A", ""), ("", ""), ("CN=O=no", "")] {
            assert_eq!(organisation(name), wanted, "{name}");
        }
    }
}
