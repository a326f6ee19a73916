//! The extensions that say what a certificate is for, and who issued it (RFC 5280 §4.2.1).

use super::{Context, Found, Subject};
use crate::algorithm::{KeyKind, KeyUsage, dotted};
use crate::der::{self, Reader};
use crate::issue::Constraints;

/// Those below id-ce, 2.5.29, that may be critical because everybody knows them.
const MAY_BE_CRITICAL: [u8; 7] = [15, 17, 19, 30, 32, 36, 37];

pub(super) fn lint(subject: &Subject<'_>, issuer: Option<&Context>, found: &mut Found) {
    encoding(subject, found);
    basic_constraints(subject, issuer, found);
    key_usage(subject, found);
    extended_key_usage(subject, found);
    identifiers(subject, issuer, found);
    elsewhere(subject, found);
}

fn name(oid: &[u8]) -> String {
    let name = match oid {
        [0x55, 0x1d, which] => match which {
            14 => "subjectKeyIdentifier",
            15 => "keyUsage",
            17 => "subjectAltName",
            19 => "basicConstraints",
            30 => "nameConstraints",
            31 => "cRLDistributionPoints",
            32 => "certificatePolicies",
            35 => "authorityKeyIdentifier",
            37 => "extKeyUsage",
            _ => return dotted(oid),
        },
        _ => return dotted(oid),
    };
    name.into()
}

fn encoding(subject: &Subject<'_>, found: &mut Found) {
    let extensions = &subject.view.extensions;
    for (index, extension) in extensions.iter().enumerate() {
        if extensions[..index].iter().any(|before| before.oid == extension.oid) {
            found.error("extension-repeated", format!("it has more than one {} extension (RFC 5280 §4.2)", name(extension.oid)));
        }
        if extension.odd_critical {
            let detail = format!("the criticality of its {} is not written as DER has it (X.690 §11.1, §11.5)", name(extension.oid));
            found.error("critical-form", detail);
        }
        let known = matches!(extension.oid, [0x55, 0x1d, which] if MAY_BE_CRITICAL.contains(which));
        if extension.critical && !known {
            found.error("critical-unknown", format!("its {} is critical, so most clients refuse it", name(extension.oid)));
        }
        let mut value = Reader::new(extension.value);
        if value.any().is_none() || !value.is_empty() {
            found.error("extension-broken", format!("its {} is not one DER value", name(extension.oid)));
        }
    }
}

fn basic_constraints(subject: &Subject<'_>, issuer: Option<&Context>, found: &mut Found) {
    let Some(extension) = subject.view.extension(19) else {
        found.warning("basic-constraints-missing", "it has no basicConstraints, so some take it for an authority".into());
        return;
    };
    if !extension.critical {
        let detail = "its basicConstraints are not critical (RFC 5280 §4.2.1.9)".into();
        if subject.is_ca {
            found.error("basic-constraints-not-critical", detail)
        } else {
            found.notice("basic-constraints-not-critical", detail)
        }
    }
    if !subject.is_ca && extension.value != [der::SEQUENCE, 0] {
        found.error("path-length-of-leaf", "it is no authority and says more in basicConstraints (RFC 5280 §4.2.1.9, X.690 §11.5)".into());
    }
    if let Some(length) = issuer.and_then(|issuer| issuer.path_length).filter(|_| subject.is_ca && !subject.certificate.self_issued()) {
        if length == 0 {
            found.error("path-length", "its issuer may not have an authority below it (path length 0)".into());
        } else if subject.certificate.path_length().is_none_or(|own| own >= length) {
            found.notice("path-length-wider", format!("it claims a longer path than its issuer, whose path length is {length}, leaves it"));
        }
    }
}

fn key_usage(subject: &Subject<'_>, found: &mut Found) {
    let key = subject.certificate.key();
    let Some(usage) = subject.certificate.key_usage() else {
        let detail = "it has no keyUsage (RFC 5280 §4.2.1.3)".into();
        if subject.is_ca {
            found.error("key-usage-missing", detail)
        } else {
            found.warning("key-usage-missing", detail)
        }
        return;
    };
    if subject.view.extension(15).is_some_and(|extension| !extension.critical) {
        found.warning("key-usage-not-critical", "its keyUsage is not critical (RFC 5280 §4.2.1.3)".into());
    }
    if usage.names().next().is_none() {
        found.error("key-usage-empty", "its keyUsage allows nothing (RFC 5280 §4.2.1.3)".into());
    }
    if subject.is_ca != usage.allows("keyCertSign") {
        let detail =
            if subject.is_ca { "it is an authority and may not sign certificates" } else { "it is no authority and may sign certificates" };
        found.error("key-usage-and-ca", format!("{detail} (RFC 5280 §4.2.1.3, §4.2.1.9)"));
    }
    if !subject.is_ca && usage.allows("cRLSign") {
        found.warning("key-usage-and-ca", "it is no authority and may sign lists of revoked certificates".into());
    }
    let cannot: &[&str] = match key {
        // RFC 8813 §3; RFC 8410 §5; RFC 4055 §1.2 for what RSA can.
        KeyKind::Ecdsa { .. } => &["keyEncipherment", "dataEncipherment"],
        KeyKind::Ed25519 => &["keyEncipherment", "dataEncipherment", "keyAgreement", "encipherOnly", "decipherOnly"],
        KeyKind::Rsa { .. } => &["keyAgreement", "encipherOnly", "decipherOnly"],
        KeyKind::Other(_) => &[],
    };
    for usage in cannot.iter().filter(|name| usage.allows(name)) {
        found.error("key-usage-and-key", format!("its keyUsage allows {usage}, which an {key} key cannot do"));
    }
}

fn extended_key_usage(subject: &Subject<'_>, found: &mut Found) {
    let certificate = subject.certificate;
    let usages = certificate.extended_key_usage();
    if subject.view.extension(37).is_none() {
        if !subject.is_ca {
            found.warning("extended-key-usage-missing", "it does not say what it is for (extKeyUsage), so it is for everything".into());
        }
        return;
    }
    if usages.is_empty() {
        found.error("extended-key-usage-empty", "its extKeyUsage is empty (RFC 5280 §4.2.1.12)".into());
    }
    for (index, usage) in usages.iter().enumerate() {
        if usages[..index].contains(usage) {
            found.error("extended-key-usage-repeated", format!("its extKeyUsage names {usage} twice"));
        }
    }
    if usages.iter().any(|usage| usage == "anyExtendedKeyUsage") {
        found.warning("extended-key-usage-any", "its extKeyUsage is for everything (anyExtendedKeyUsage)".into());
    }
    let allows = |usage: Option<KeyUsage>, names: &[&str]| usage.is_none_or(|usage| names.iter().any(|name| usage.allows(name)));
    let usage = certificate.key_usage();
    let consistent = |purpose: &str| match purpose {
        "serverAuth" => allows(usage, &["digitalSignature", "keyEncipherment", "keyAgreement"]),
        "clientAuth" => allows(usage, &["digitalSignature", "keyAgreement"]),
        _ => true,
    };
    for purpose in usages.iter().filter(|purpose| !subject.is_ca && !consistent(purpose)) {
        found.error("key-usage-and-purpose", format!("its keyUsage allows nothing that {purpose} needs (RFC 5280 §4.2.1.12)"));
    }
}

fn identifiers(subject: &Subject<'_>, issuer: Option<&Context>, found: &mut Found) {
    let (view, self_issued) = (subject.view, subject.certificate.self_issued());
    match view.subject_key_identifier() {
        Some([]) => found.error("subject-key-identifier-empty", "its subject key identifier is empty".into()),
        Some(identifier) if identifier.len() > 64 => {
            found.warning("subject-key-identifier-long", "its subject key identifier has more than 64 octets".into());
        }
        Some(_) => {}
        None if subject.is_ca => {
            found.error("subject-key-identifier-missing", "it is an authority without subject key identifier (RFC 5280 §4.2.1.2)".into());
        }
        None => found.warning("subject-key-identifier-missing", "it has no subject key identifier (RFC 5280 §4.2.1.2)".into()),
    }
    let theirs = issuer.and_then(|issuer| issuer.key_identifier());
    match view.authority_key_identifier() {
        None if self_issued => {}
        None => found.error("authority-key-identifier-missing", "it has no authority key identifier (RFC 5280 §4.2.1.1)".into()),
        Some(identifier) if issuer.is_some() && theirs != Some(identifier) => {
            let detail = "its authority key identifier is not the subject key identifier of its issuer (RFC 5280 §4.2.1.1)".into();
            found.error("authority-key-identifier-mismatch", detail);
        }
        Some(_) => {}
    }
}

/// nameConstraints, CRL distribution points and policies.
fn elsewhere(subject: &Subject<'_>, found: &mut Found) {
    let view = subject.view;
    if let Some(extension) = view.extension(30) {
        if !subject.is_ca {
            found.error("name-constraints-of-leaf", "it is no authority and has name constraints (RFC 5280 §4.2.1.10)".into());
        }
        if !extension.critical {
            found.error("name-constraints-not-critical", "its name constraints are not critical (RFC 5280 §4.2.1.10)".into());
        }
        match Constraints::read(extension.value) {
            Some(constraints) if constraints.is_empty() => {
                found.error("name-constraints-empty", "its name constraints constrain nothing (RFC 5280 §4.2.1.10)".into());
            }
            Some(constraints) => {
                if let Some(problem) = constraints.problem() {
                    found.error("name-constraints-form", format!("its name constraints are malformed: {problem}"));
                }
            }
            None => found.error("name-constraints-form", "its name constraints cannot be read".into()),
        }
    }
    if let Some(extension) = view.extension(31) {
        match distribution_points(extension.value) {
            None => found.error("crl-distribution-point-form", "its CRL distribution points cannot be read".into()),
            Some(urls) => {
                for url in urls {
                    let problem = std::str::from_utf8(url).map_or(Some("it is not text"), crate::san::uri_problem);
                    let text = String::from_utf8_lossy(url);
                    if let Some(problem) = problem {
                        let text = crate::text::escape(&text);
                        found.error("crl-distribution-point-form", format!("its CRL distribution point `{text}` is no URI: {problem}"));
                    } else if !text.starts_with("http://") {
                        // RFC 5280 §8: fetching a CRL over TLS may need that very CRL.
                        found.notice("crl-distribution-point-scheme", "its CRL distribution point is not plain http".into());
                    }
                }
            }
        }
    }
    if let Some(extension) = view.extension(32) {
        let mut seen: Vec<&[u8]> = Vec::new();
        let policies = (|| {
            let mut list = Reader::new(extension.value).inside(der::SEQUENCE)?;
            while !list.is_empty() {
                seen.push(list.inside(der::SEQUENCE)?.tagged(der::OID)?.value);
            }
            Some(())
        })();
        if policies.is_none() || seen.is_empty() {
            found.error("policies-form", "its certificate policies cannot be read, or there are none".into());
        }
        if seen.iter().enumerate().any(|(index, policy)| seen[..index].contains(policy)) {
            found.error("policies-repeated", "it names a certificate policy twice (RFC 5280 §4.2.1.4)".into());
        }
    }
}

/// The URIs of the full names; `None` if it cannot be read.
fn distribution_points(value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut urls = Vec::new();
    let mut points = Reader::new(value).inside(der::SEQUENCE)?;
    while !points.is_empty() {
        let mut point = points.inside(der::SEQUENCE)?;
        if let Some(mut name) = point.inside(der::CONTEXT_0)
            && let Some(mut names) = name.inside(der::CONTEXT_0)
        {
            while !names.is_empty() {
                let name = names.any()?;
                if name.tag == 0x86 {
                    urls.push(name.value);
                }
            }
        }
    }
    Some(urls)
}
