//! The inventory of a scenario: what its `fleet.toml` says, the targets of its spreads, and the roots of its CAs.

use crate::{
    Error, Result,
    certificates::Certificates,
    network::Place,
    scenario::{Scenario, Spread},
};
use api::fleet::Fleet;
use std::fmt::Write as _;

/// What the store is told, and where its targets really are.
pub(crate) fn of(scenario: &Scenario, certificates: &Certificates) -> Result<(Fleet, Vec<Place>)> {
    let mut text = scenario.scenario.inventory.clone();
    let own = text.matches('\n').count() + 1;
    let mut places = Vec::new();
    for (name, (certificate, public)) in &certificates.roots {
        if !public {
            let _ = write!(text, "\n[[roots]]\nname = {}\npem = '''\n{}'''\n", quoted(name), certificate.to_pem());
        }
    }
    let mut stamps = std::collections::BTreeSet::new();
    for spread in &scenario.spread {
        for region in &spread.regions {
            for stamp in 0..spread.stamps.max(1) {
                let stamp = (spread.stamps > 0).then(|| format!("{region}-{stamp}"));
                if let Some(stamp) = stamp.as_ref().filter(|stamp| stamps.insert((*stamp).clone())) {
                    let _ = write!(text, "\n[[stamp]]\nname = {}\nregion = {}\n", quoted(stamp), quoted(region));
                }
                for n in 0..spread.targets {
                    places.push(place(spread, region, stamp.as_deref(), n, places.len(), &mut text));
                }
            }
        }
    }
    let fleet = api::fleet::parse(&text).map_err(|problems| {
        let first = &problems[0];
        let place = if first.line <= own { format!("line {} of the inventory", first.line) } else { String::from("a spread") };
        Error::Scenario(format!("{place}: {}", first.message))
    })?;
    // What names nobody would never be told, and a `[[never]]` that never fails proves nothing.
    for told in scenario.told() {
        if let Some(team) = told.team.as_ref().filter(|team| !fleet.teams.iter().any(|t| t.name == **team)) {
            return Err(Error::Scenario(format!("no team of the inventory is called `{team}`")));
        }
        if let Some(secret) = told.secret.as_ref().filter(|secret| !fleet.secrets.iter().any(|s| s.name == **secret)) {
            return Err(Error::Scenario(format!("no secret of the inventory is called `{secret}`")));
        }
    }
    Ok((fleet, places))
}

fn place(spread: &Spread, region: &str, stamp: Option<&str>, n: u32, number: usize, text: &mut String) -> Place {
    let within = stamp.unwrap_or(region);
    let name = format!("{}-{within}-{n}", spread.secret);
    let host = spread.host.replace("{region}", region).replace("{stamp}", within).replace("{n}", &n.to_string());
    let _ = write!(
        text,
        "\n[[target]]\nname = {}\nsecret = {}\nendpoint = {}\nregion = {}\nbackends = \"direct\"\noffers = [\"all\"]\n",
        quoted(&name),
        quoted(&spread.secret),
        quoted(&format!("tls://{host}:443")),
        quoted(region)
    );
    let more = [("stamp", stamp), ("service", spread.service.as_deref()), ("roots", spread.roots.as_deref())];
    for (key, value) in more.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        let _ = writeln!(text, "{key} = {}", quoted(value));
    }
    let [a, b, c] = [number >> 16 & 255, number >> 8 & 255, number & 255];
    Place {
        name,
        secret: spread.secret.clone(),
        region: region.into(),
        host,
        address: format!("10.{a}.{b}.{c}:443"),
        roots: spread.roots.clone(),
        serves: Some(spread.serves.clone()),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
