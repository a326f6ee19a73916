//! Targets: where they are dialled, from where, and what they refer to.

use super::super::CA_ROOTS;
use super::super::model::{Fleet, SecretKind, Target, TargetKind, TargetState};
use super::super::place::Path;
use super::super::values::{Protocol, check_dns_name, quoted};
use super::super::{LOCAL_VANTAGE, MAX_DRAINED_SECONDS, MAX_LIST};
use super::{Check, Names};

pub(super) fn target(c: &mut Check, fleet: &Fleet, names: &Names<'_>, t: &Target, now: Option<i64>, at: &dyn Fn() -> Path) {
    let secret = c.refer(&t.secret, "secret", &names.secrets, || at().key("secret"));
    if let Some(secret) = secret.and_then(|i| fleet.secrets.get(i))
        && secret.kind == SecretKind::Opaque
        && t.kind == TargetKind::Endpoint
    {
        c.say(at().key("secret"), "an endpoint cannot present an opaque secret; name a certificate");
    }
    let region = c.refer_if(t.region.as_ref(), "region", &names.regions, || at().key("region"));
    let stamp = c.refer_if(t.stamp.as_ref(), "stamp", &names.stamps, || at().key("stamp"));
    if let (Some(_), Some(stamp)) = (region, stamp.and_then(|i| fleet.stamps.get(i)))
        && t.region.as_ref() != Some(&stamp.region)
    {
        let message = format!("stamp {} lies in region {}; correct one of the two", quoted(&stamp.name), quoted(&stamp.region));
        c.say(at().key("stamp"), message);
    }
    c.refer_if(t.service.as_ref(), "service", &names.services, || at().key("service"));
    c.refer_if(t.team.as_ref(), "team", &names.teams, || at().key("team"));
    // The roots of an internal CA are a set of the store's own, with the name of its issuer.
    let of_issuer = t.roots.as_ref().and_then(|r| r.strip_prefix(CA_ROOTS)).is_some_and(|issuer| names.issuers.contains_key(issuer));
    if !of_issuer {
        c.refer_if(t.roots.as_ref(), "roots", &names.roots, || at().key("roots"));
    }
    dialled(c, t, at);
    vantages(c, fleet, names, t, at);
    match (t.state, t.drained_until) {
        (TargetState::Drained, None) => {
            c.say(at().key("drained_until"), "a drained target needs an end; add drained_until, at most 30d ahead");
        }
        (TargetState::Drained, Some(until)) => {
            if let Some(now) = now {
                if until.unix() <= now {
                    c.say(at().key("drained_until"), format!("{until} has passed; set state = \"active\" or a later end"));
                } else if until.unix() - now > MAX_DRAINED_SECONDS {
                    c.say(at().key("drained_until"), format!("{until} is more than 30d ahead; drain for less, or retire the target"));
                }
            }
        }
        (_, Some(_)) => c.say(at().key("drained_until"), "only a drained target has it; leave it out or say state = \"drained\""),
        (_, None) => {}
    }
}

fn dialled(c: &mut Check, t: &Target, at: &dyn Fn() -> Path) {
    match (t.kind, &t.endpoint) {
        (TargetKind::Endpoint, None) => c.say(at().key("endpoint"), "an endpoint needs its address; add endpoint = \"tls://host:443\""),
        (TargetKind::Install | TargetKind::Artifact, Some(_)) => {
            c.say(at().key("endpoint"), "only kind = \"endpoint\" is dialled; leave it out or make a second target of it");
        }
        _ => {}
    }
    if let Some(name) = &t.server_name {
        if t.kind != TargetKind::Endpoint {
            c.say(at().key("server_name"), "only kind = \"endpoint\" is asked for a name; leave it out");
        } else if name.parse::<std::net::IpAddr>().is_ok() {
            // RFC 6066 §3: literal addresses are not permitted in HostName.
            c.say(at().key("server_name"), "a server name is a DNS name, not an address; leave it out");
        } else if let Err(e) = check_dns_name(name) {
            c.say(at().key("server_name"), e.to_string());
        }
    }
    if t.offers.is_empty() {
        c.say(at().key("offers"), "nothing would be offered; write offers = [\"all\"] or leave it out");
    }
    if t.names_without_sni {
        match &t.endpoint {
            None => c.say(at().key("names_without_sni"), "only kind = \"endpoint\" is asked for names; leave it out"),
            // RFC 6120 §4.7.2: the stream header names the domain before TLS begins.
            Some(e) if e.protocol == Protocol::Xmpp => {
                c.say(at().key("names_without_sni"), "XMPP names its domain before TLS begins, so no client names nothing; leave it out");
            }
            Some(_) => {}
        }
    }
    c.distinct(&t.offers, &|| at().key("offers"));
    c.distinct(&t.key_types, &|| at().key("key_types"));
}

fn vantages(c: &mut Check, fleet: &Fleet, names: &Names<'_>, t: &Target, at: &dyn Fn() -> Path) {
    if t.vantages.is_empty() && t.kind == TargetKind::Endpoint {
        c.say(at().key("vantages"), "no vantage would have to be green; name at least one, such as \"local\"");
    }
    c.distinct(&t.vantages, &|| at().key("vantages"));
    c.distinct(&t.optional_vantages, &|| at().key("optional_vantages"));
    for (key, list) in [("vantages", &t.vantages), ("optional_vantages", &t.optional_vantages)] {
        for (i, name) in list.iter().enumerate().take(MAX_LIST) {
            let path = || at().key(key).index(i);
            let declared = names.vantages.get(name.as_str()).and_then(|v| fleet.vantages.get(*v));
            if declared.is_none() && name != LOCAL_VANTAGE {
                c.refer(name, "vantage", &names.vantages, path);
            }
            if key == "vantages" && declared.is_some_and(|v| !v.required) {
                c.say(path(), format!("vantage {} is declared with required = false; move it to optional_vantages", quoted(name)));
            }
        }
    }
    // Both lists are short in practice; the bound keeps hostile ones from costing their product.
    if t.vantages.len().saturating_mul(t.optional_vantages.len()) <= MAX_LIST {
        for (i, name) in t.optional_vantages.iter().enumerate() {
            if t.vantages.contains(name) {
                c.say(at().key("optional_vantages").index(i), format!("{} is required already; leave it out here", quoted(name)));
            }
        }
    }
}
