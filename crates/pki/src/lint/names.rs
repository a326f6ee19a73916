//! Subject and subject alternative names (RFC 5280 §4.2.1.6), and whether the issuer may certify them (§4.2.1.10).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Context, Found, Subject};
use crate::csr::MAX_COMMON_NAME;
use crate::der::{self, Element, Reader};
use crate::name::{Name, common_names};
use crate::san::San;

/// Most findings about single names; what is beyond is counted.
const MAX_NAMED: usize = 20;

pub(super) fn lint(subject: &Subject<'_>, issuer: Option<&Context>, found: &mut Found) {
    let empty = subject.view.subject == [der::SEQUENCE, 0];
    let mut names = Vec::new();
    match subject.view.extension(17) {
        Some(extension) => {
            if empty && !extension.critical {
                let detail = "its subject is empty and its subjectAltName is not critical (RFC 5280 §4.2.1.6)".into();
                found.error("san-not-critical", detail);
            }
            if !empty && extension.critical {
                let detail = "it has a subject and its subjectAltName is critical; it should not be (RFC 5280 §4.2.1.6)".into();
                found.notice("san-critical", detail);
            }
            names = alternative_names(extension.value, found);
        }
        None if subject.is_ca => {}
        None => found.error("san-missing", "it has no subjectAltName, and clients look for names nowhere else (RFC 9525 §2)".into()),
    }
    common_name(subject, &names, found);
    spiffe(subject, &names, found);
    if let Some(constraints) = issuer.and_then(|issuer| issuer.constraints.as_ref()) {
        let outside: Vec<String> = names.iter().filter(|name| !constraints.allow(name)).map(ToString::to_string).collect();
        if !outside.is_empty() {
            let more = if outside.len() > MAX_NAMED { format!(" and {} more", outside.len() - MAX_NAMED) } else { String::new() };
            let shown = outside.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            found.error("outside-constraints", format!("its issuer may not certify {shown}{more} (RFC 5280 §4.2.1.10)"));
        }
    }
}

/// The names that are well-formed; a finding for each other one.
fn alternative_names(value: &[u8], found: &mut Found) -> Vec<San> {
    let mut names = Vec::new();
    let mut bad = 0;
    let mut list = Reader::new(value).inside(der::SEQUENCE);
    while let Some(element) = list.as_mut().and_then(Reader::any) {
        match read(element) {
            Ok(name) => names.push(name),
            Err((code, detail)) => {
                bad += 1;
                if bad <= MAX_NAMED {
                    found.error(code, detail);
                }
            }
        }
    }
    if bad > MAX_NAMED {
        found.error("san-more", format!("and {} more names are malformed", bad - MAX_NAMED));
    }
    if list.is_none_or(|rest| !rest.is_empty()) || (names.is_empty() && bad == 0) {
        found.error("san-form", "its subjectAltName cannot be read, or is empty (RFC 5280 §4.2.1.6)".into());
    }
    let unique: BTreeSet<&San> = names.iter().collect();
    if unique.len() < names.len() {
        found.warning("san-repeated", "its subjectAltName has a name twice".into());
    }
    names
}

fn read(element: Element<'_>) -> Result<San, (&'static str, String)> {
    let shown = || Name::from_general_name(element).to_string();
    let text = |code| std::str::from_utf8(element.value).map_err(|_| (code, format!("`{}` is not text in IA5", shown())));
    match element.tag {
        0x82 => San::dns(text("san-dns")?).map_err(|error| ("san-dns", error.to_string())),
        0x86 => San::uri(text("san-uri")?).map_err(|error| ("san-uri", error.to_string())),
        0x87 => match Name::from_general_name(element) {
            Name::Ip(address) => Ok(San::ip(address)),
            _ => Err(("san-ip", format!("`{}` is no address of 4 or 16 octets (RFC 5280 §4.2.1.6)", shown()))),
        },
        _ => Err(("san-kind", format!("`{}` is neither a DNS name, an address nor a URI", shown()))),
    }
}

fn common_name(subject: &Subject<'_>, names: &[San], found: &mut Found) {
    let common = common_names(subject.view.subject).unwrap_or_default();
    if common.len() > 1 {
        found.warning("common-name-repeated", "it has more than one common name".into());
    }
    for text in &common {
        let shown = crate::text::escape(text);
        if !(1..=MAX_COMMON_NAME).contains(&text.chars().count()) {
            found.error("common-name-length", format!("its common name `{shown}` has not 1 to 64 characters (RFC 5280 appendix A)"));
        }
        let among_names = || match text.parse::<IpAddr>() {
            Ok(address) => names.iter().any(|name| name.as_ip() == Some(address)),
            Err(_) => {
                names.iter().any(|name| name.as_dns().is_some_and(|name| name.eq_ignore_ascii_case(text)) || name.as_uri() == Some(text))
            }
        };
        if !subject.is_ca && !among_names() {
            found.warning("common-name-not-in-san", format!("its common name `{shown}` is not among its names"));
        }
    }
}

/// X509-SVID §2 and §4, where there is a SPIFFE identity.
fn spiffe(subject: &Subject<'_>, names: &[San], found: &mut Found) {
    if !names.iter().any(San::is_spiffe) {
        return;
    }
    if names.iter().filter(|name| name.as_uri().is_some()).count() > 1 {
        found.error("spiffe-not-alone", "beside its SPIFFE identity it has another URI (X509-SVID §2)".into());
    }
    if subject.is_ca {
        found.error("spiffe-authority", "it is an authority with the SPIFFE identity of a workload (X509-SVID §3)".into());
    } else if !subject.certificate.key_usage().is_some_and(|usage| usage.allows("digitalSignature")) {
        found.error("spiffe-key-usage", "its keyUsage does not allow digitalSignature (X509-SVID §4.3)".into());
    }
}
