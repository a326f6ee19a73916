//! Issuers, and how secrets are issued: their form. Which windows and zones there are, the server says.

use super::super::issuing::{Challenge, DnsUpdate, Issuer, IssuerKind, Profile};
use super::super::model::{Fleet, Management, Secret, SecretKind};
use super::super::place::Path;
use super::super::values::{check_dns_name, quoted};
use super::super::{LIFETIME_SECONDS, MAX_PREFERRED, MAX_TEXT_BYTES};
use super::{Check, Names, is_name};

/// Most orders of a budget.
const MAX_ORDERS: u32 = 1_000_000;
/// Longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
const MAX_SPIFFE_ID_BYTES: usize = 2_048;
/// Most issuers that fall back on one another in a row.
const MAX_FALLBACKS: usize = 16;

pub(super) fn issuing(c: &mut Check, fleet: &Fleet, names: &Names<'_>) {
    for (i, it) in fleet.issuers.iter().enumerate() {
        issuer(c, fleet, names, it, &|| Path::item("issuer", i));
    }
    for (i, s) in fleet.secrets.iter().enumerate() {
        secret(c, fleet, names, s, &|| Path::item("secret", i));
    }
}

fn issuer(c: &mut Check, fleet: &Fleet, names: &Names<'_>, it: &Issuer, at: &dyn Fn() -> Path) {
    c.refer_if(it.region.as_ref(), "region", &names.regions, || at().key("region"));
    if let Some(next) = it.fallback.as_ref().and_then(|f| c.refer(f, "issuer", &names.issuers, || at().key("fallback"))) {
        fallback(c, fleet, names, it, next, &|| at().key("fallback"));
    }
    if let Some(budget) = it.budget {
        if !(1..=MAX_ORDERS).contains(&budget.orders) {
            c.say(at().key("budget").key("orders"), format!("write a number from 1 to {MAX_ORDERS}"));
        }
        if budget.window.as_secs() < 60 {
            c.say(at().key("budget").key("window"), "a window is at least 1m long");
        }
    }
    match it.kind {
        IssuerKind::Internal => internal(c, it, at),
        IssuerKind::Acme => acme(c, fleet, names, it, at),
    }
}

/// A chain of fallbacks must end, or a failing order would travel in circles.
fn fallback(c: &mut Check, fleet: &Fleet, names: &Names<'_>, first: &Issuer, next: usize, at: &dyn Fn() -> Path) {
    let mut here = next;
    for _ in 0..MAX_FALLBACKS {
        let Some(issuer) = fleet.issuers.get(here) else { return };
        if issuer.name == first.name {
            c.say(at(), format!("{} falls back on itself; let one of them have no fallback", quoted(&first.name)));
            return;
        }
        let Some(next) = issuer.fallback.as_ref().and_then(|f| names.issuers.get(f.as_str())) else { return };
        here = *next;
    }
    c.say(at(), format!("more than {MAX_FALLBACKS} issuers fall back on one another; shorten the row"));
}

fn internal(c: &mut Check, it: &Issuer, at: &dyn Fn() -> Path) {
    let said = [
        ("directory", it.directory.is_some()),
        ("contact", !it.contact.is_empty()),
        ("eab_key_id", it.eab_key_id.is_some()),
        ("eab_secret", it.eab_secret.is_some()),
        ("profile", it.profile.is_some()),
        ("chain", it.chain.is_some()),
        ("challenge", it.challenge.is_some()),
        ("dns", it.dns.is_some()),
        ("dns_hook", it.dns_hook.is_some()),
        ("roots", it.roots.is_some()),
    ];
    if it.crl.as_ref().is_some_and(|url| {
        let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
        rest.is_none_or(str::is_empty) || !plain(url) || url.contains(' ')
    }) {
        c.say(at().key("crl"), "not an address; write where clients reach /v1/crl, such as \"http://crl.example.com/v1/crl\"");
    }
    for (key, _) in said.iter().filter(|(_, said)| *said) {
        c.say(at().key(key), format!("only an ACME issuer has {key}; leave it out or say kind = \"acme\""));
    }
}

fn acme(c: &mut Check, fleet: &Fleet, names: &Names<'_>, it: &Issuer, at: &dyn Fn() -> Path) {
    if it.crl.is_some() {
        c.say(at().key("crl"), "only an internal issuer has crl; leave it out");
    }
    match &it.directory {
        None => c.say(at().key("directory"), "directory is missing; add directory = \"https://…\""),
        Some(url) if !is_https(url) => {
            c.say(at().key("directory"), "not the address of a directory; write https://host/path");
        }
        Some(_) => {}
    }
    if it.contact.len() > MAX_PREFERRED {
        c.say(at().key("contact"), format!("at most {MAX_PREFERRED} contacts"));
    }
    for (i, contact) in it.contact.iter().enumerate().take(MAX_PREFERRED) {
        // RFC 8555 §7.3: every server knows mailto, without header fields and with one address.
        let address = contact.strip_prefix("mailto:").unwrap_or("");
        if !address.contains('@') || address.contains(['?', ',', ' ']) || !plain(address) {
            c.say(at().key("contact").index(i), "not a contact; write \"mailto:somebody@example.com\"");
        }
    }
    match (&it.eab_key_id, &it.eab_secret) {
        (Some(_), None) => c.say(at().key("eab_secret"), "eab_secret is missing; name the opaque secret that holds the account's key"),
        (None, Some(_)) => c.say(at().key("eab_key_id"), "eab_key_id is missing; it comes from the CA together with the key"),
        _ => {}
    }
    if let Some(name) = &it.eab_secret {
        opaque(c, fleet, names, name, &|| at().key("eab_secret"));
    }
    for (key, value) in [("eab_key_id", &it.eab_key_id), ("profile", &it.profile), ("chain", &it.chain)] {
        if value.as_ref().is_some_and(|v| v.is_empty() || !plain(v)) {
            c.say(at().key(key), format!("{key} is empty or holds control characters"));
        }
    }
    c.refer_if(it.roots.as_ref(), "roots", &names.roots, || at().key("roots"));
    let Some(challenge) = it.challenge else {
        c.say(at().key("challenge"), "challenge is missing; use \"http-01\", \"tls-alpn-01\" or \"dns-01\"");
        return;
    };
    if challenge != Challenge::Dns01 {
        for (key, said) in [("dns", it.dns.is_some()), ("dns_hook", it.dns_hook.is_some())] {
            if said {
                c.say(at().key(key), format!("{key} belongs to challenge = \"dns-01\"; leave one of them out"));
            }
        }
        return;
    }
    match (&it.dns, &it.dns_hook) {
        (None, None) => c.say(at().key("dns"), "dns-01 needs a way to write records; add dns = { server = … } or dns_hook = \"NAME\""),
        (Some(_), Some(_)) => c.say(at().key("dns_hook"), "records are written in one way; leave dns or dns_hook out"),
        (Some(dns), None) => update(c, fleet, names, dns, &|| at().key("dns")),
        (None, Some(hook)) if !is_name(hook) => {
            c.say(at().key("dns_hook"), "write the name that the server knows it by (--dns-hook NAME=PATH), never a path");
        }
        (None, Some(_)) => {}
    }
}

/// Name servers that are asked for a record.
const MAX_SERVERS: usize = 16;

fn update(c: &mut Check, fleet: &Fleet, names: &Names<'_>, dns: &DnsUpdate, at: &dyn Fn() -> Path) {
    let addressed = |server: &str| {
        let port = server.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten());
        port.is_some_and(|p| p != 0) && plain(server)
    };
    if !addressed(&dns.server) {
        c.say(at().key("server"), "write the primary server's address and port, such as \"10.0.0.1:53\"");
    }
    if dns.servers.len() > MAX_SERVERS || !dns.servers.iter().all(|server| addressed(server)) {
        c.say(at().key("servers"), format!("write addresses and ports, such as \"10.0.0.1:53\", {MAX_SERVERS} at most"));
    }
    for (key, name) in [("zone", &dns.zone), ("key_name", &dns.key_name)] {
        if let Err(e) = check_dns_name(name.strip_suffix('.').unwrap_or(name)) {
            c.say(at().key(key), e.to_string());
        }
    }
    opaque(c, fleet, names, &dns.key_secret, &|| at().key("key_secret"));
}

/// The name of a secret whose bytes the server uses.
fn opaque(c: &mut Check, fleet: &Fleet, names: &Names<'_>, name: &str, at: &dyn Fn() -> Path) {
    if let Some(i) = c.refer(name, "secret", &names.secrets, at)
        && fleet.secrets.get(i).is_some_and(|s| s.kind != SecretKind::Opaque)
    {
        c.say(at(), format!("{} is not opaque; name a secret of kind = \"opaque\"", quoted(name)));
    }
}

fn secret(c: &mut Check, fleet: &Fleet, names: &Names<'_>, s: &Secret, at: &dyn Fn() -> Path) {
    let said = [
        ("profile", s.profile.is_some()),
        ("keys", s.keys.is_some()),
        ("key_type", s.key_type.is_some()),
        ("lifetime", s.lifetime.is_some()),
        ("spiffe_id", s.spiffe_id.is_some()),
        ("window", s.window.is_some()),
    ];
    let managed = s.kind == SecretKind::Certificate && s.management == Management::Managed;
    if !managed {
        for (key, _) in [("issued_by", !s.issued_by.is_empty())].iter().chain(&said).filter(|(_, said)| *said) {
            c.say(at().key(key), format!("only a certificate that the store renews has {key}; leave it out"));
        }
        return;
    }
    c.distinct(&s.issued_by, &|| at().key("issued_by"));
    if s.issued_by.len() > MAX_PREFERRED {
        c.say(at().key("issued_by"), format!("at most {MAX_PREFERRED} issuers"));
    }
    let mut kinds = Vec::new();
    for (i, name) in s.issued_by.iter().enumerate().take(MAX_PREFERRED) {
        let found = c.refer(name, "issuer", &names.issuers, || at().key("issued_by").index(i));
        kinds.extend(found.and_then(|i| fleet.issuers.get(i)).map(|i| i.kind));
    }
    let spiffe = s.profile == Some(Profile::Spiffe);
    match &s.spiffe_id {
        Some(_) if !spiffe => c.say(at().key("spiffe_id"), "only profile = \"spiffe\" has a spiffe_id; leave it out"),
        Some(id) => {
            if let Err(why) = spiffe_id(id) {
                c.say(at().key("spiffe_id"), why);
            }
        }
        None if spiffe => c.say(at().key("spiffe_id"), "spiffe_id is missing; add spiffe_id = \"spiffe://domain/path\""),
        None => {}
    }
    if spiffe && kinds.contains(&IssuerKind::Acme) {
        c.say(at().key("profile"), "an ACME issuer signs no SPIFFE identities; use an internal one");
    }
    if !s.issued_by.is_empty() && s.names.is_empty() && !spiffe {
        c.say(at().key("names"), "what is issued needs names; add names = [\"www.example.com\"]");
    }
    if s.lifetime.is_some_and(|l| !LIFETIME_SECONDS.contains(&l.as_secs())) {
        c.say(at().key("lifetime"), "a certificate lives for 1h to 3660d");
    }
    if let Some(window) = &s.window {
        if window.weekly.is_empty() || window.weekly.len() > MAX_TEXT_BYTES {
            c.say(at().key("window").key("weekly"), "write a window of the week, such as \"tue 09:00 - tue 17:00\"");
        }
        if window.zone.as_ref().is_some_and(|z| z.is_empty() || z.len() > MAX_TEXT_BYTES) {
            c.say(at().key("window").key("zone"), "write a zone such as \"Europe/Dublin\", or leave it out for UTC");
        }
    }
}

/// SPIFFE-ID §2: `spiffe://`, a trust domain of `[a-z0-9.-_]`, and a path without empty, `.` or `..` segments.
fn spiffe_id(id: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{} is no SPIFFE ID: {why}", quoted(id)));
    if id.len() > MAX_SPIFFE_ID_BYTES {
        return Err(format!("a SPIFFE ID has at most {MAX_SPIFFE_ID_BYTES} characters"));
    }
    let Some(rest) = id.strip_prefix("spiffe://") else { return wrong("it begins with spiffe://") };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(d, p)| (d, Some(p)));
    let of =
        |text: &str, also: fn(u8) -> bool| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"._-".contains(&b) || also(b));
    if !of(domain, |b| b.is_ascii_lowercase()) {
        return wrong("its trust domain has lower-case letters, digits and . _ -");
    }
    let good = |s: &str| of(s, |b| b.is_ascii_alphabetic()) && s != "." && s != "..";
    if path.is_some_and(|p| !p.split('/').all(good)) {
        return wrong("its path has letters, digits and . _ - between single slashes");
    }
    Ok(())
}

fn is_https(url: &str) -> bool {
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':'])) && plain(url) && !url.contains(' ')
}

fn plain(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && !text.contains(char::is_control)
}
