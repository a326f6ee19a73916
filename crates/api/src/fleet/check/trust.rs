//! Who is told, over which addresses, and which roots are believed.

use super::super::model::{Contact, Fleet, SecretKind};
use super::super::place::Path;
use super::super::values::quoted;
use super::super::{MAX_CONTACTS, MAX_PEM_BYTES, MAX_TEXT_BYTES};
use super::{Check, Names};

pub(super) fn teams(c: &mut Check, fleet: &Fleet, names: &Names<'_>) {
    for (i, team) in fleet.teams.iter().enumerate() {
        let at = || Path::item("team", i);
        if team.escalation.as_ref() == Some(&team.name) {
            c.say(at().key("escalation"), "a team cannot be its own escalation; name another team or leave it out");
        } else {
            c.refer_if(team.escalation.as_ref(), "team", &names.teams, || at().key("escalation"));
        }
        if team.contacts.is_empty() {
            c.say(at().key("contacts"), "nobody would be told; add at least contacts = [{ channel = \"log\" }]");
        }
        if team.contacts.len() > MAX_CONTACTS {
            c.say(at().key("contacts"), format!("more than {MAX_CONTACTS} contacts"));
        }
        for (j, contact) in team.contacts.iter().enumerate().take(MAX_CONTACTS) {
            let key = |key: &str| at().key("contacts").index(j).key(key);
            match contact {
                Contact::Log {} => {}
                Contact::Webhook { url, signing_secret } => {
                    address(c, url, &["https"], || key("url"));
                    if let Some(name) = signing_secret {
                        opaque(c, fleet, names, name, || key("signing_secret"));
                    }
                }
                Contact::Alertmanager { url } => address(c, url, &["https", "http"], || key("url")),
                Contact::Pagerduty { routing_key, url } => {
                    opaque(c, fleet, names, routing_key, || key("routing_key"));
                    if let Some(url) = url {
                        address(c, url, &["https"], || key("url"));
                    }
                }
            }
        }
    }
}

/// A reference to an opaque secret: the file holds names, never the bytes themselves.
fn opaque(c: &mut Check, fleet: &Fleet, names: &Names<'_>, name: &str, path: impl Fn() -> Path) {
    match names.secrets.get(name).and_then(|i| fleet.secrets.get(*i)) {
        Some(secret) if secret.kind == SecretKind::Opaque => {}
        Some(_) => c.say(path(), format!("secret {} is not opaque; name one with kind = \"opaque\"", quoted(name))),
        // The text may be the secret itself, written here by mistake; it is not repeated.
        None => c.say(path(), "no such secret; this is the name of an opaque secret, declared with [[secret]], never the bytes themselves"),
    }
}

fn address(c: &mut Check, url: &str, schemes: &[&str], path: impl Fn() -> Path) {
    let how = schemes.iter().map(|s| format!("{s}://")).collect::<Vec<_>>().join(" or ");
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)) else {
        return c.say(path(), format!("an address here begins with {how}"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return c.say(path(), "an address cannot hold a password; leave it out and use a signing secret");
    }
    let odd = |ch: char| ch.is_whitespace() || ch.is_control() || !ch.is_ascii();
    if authority.is_empty() || url.len() > MAX_TEXT_BYTES || url.contains(odd) {
        c.say(path(), format!("not an address; write it like {}host/path, in ASCII", how.split(' ').next().unwrap_or("")));
    }
}

pub(super) fn roots(c: &mut Check, fleet: &Fleet) {
    for (i, set) in fleet.roots.iter().enumerate() {
        let at = || Path::item("roots", i);
        match (&set.pem, &set.file) {
            (None, None) => c.say(at(), "roots need their certificates; add file = \"…\" or pem = \"\"\"…\"\"\""),
            (Some(_), Some(_)) => c.say(at().key("file"), "either pem or file, not both; leave one out"),
            (Some(text), None) => {
                if let Err(message) = pem(text) {
                    c.say(at().key("pem"), message);
                }
            }
            (None, Some(file)) => {
                let absolute = file.starts_with(['/', '\\']) || file.as_bytes().get(1) == Some(&b':');
                if file.is_empty() || file.len() > MAX_TEXT_BYTES || absolute || file.contains(char::is_control) {
                    c.say(at().key("file"), "write a path relative to the fleet file, so that it means the same on every machine");
                }
            }
        }
    }
}

/// Whether a text can be a set of roots: certificates, and no private key by mistake.
pub(in crate::fleet) fn pem(text: &str) -> Result<(), String> {
    if text.len() > MAX_PEM_BYTES {
        Err(format!("more than {MAX_PEM_BYTES} bytes of PEM; keep the roots that clients trust"))
    } else if text.contains("PRIVATE KEY-----") {
        Err("this holds a private key; keep certificates alone, and consider the key as disclosed".to_owned())
    } else if !text.contains("-----BEGIN CERTIFICATE-----") {
        Err("no certificate in it; PEM begins with -----BEGIN CERTIFICATE-----".to_owned())
    } else {
        Ok(())
    }
}
