//! Tokens: 32 random bytes, shown once, stored as their SHA-256.

use api::v1;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Time;
use engine::{Engine, Tick};
use serde_json::json;
use store::{
    Actor,
    journal::Entry,
    model::token::{self, Token},
};
use zeroize::Zeroizing;

use super::{
    convert,
    limits::{TOKEN_SERVICES, TOKEN_TEAMS},
    permission::{Principal, Role},
    problem::Problem,
};

/// What every token begins with, so that scanners for leaked secrets find it.
pub const PREFIX: &str = "prn_";
/// Who vouches for the subject of a token.
pub const ISSUER: &str = "token";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;
/// Their base64url without padding (RFC 4648 §5).
const TEXT_LEN: usize = 43;

/// Makes a token and journals it; the value itself is only in the answer.
///
/// # Errors
/// 422 where the request makes no sense, or what the database says.
pub fn create(
    engine: &Engine,
    wanted: &v1::NewToken,
    entropy: fn(&mut [u8]),
    actor: &Actor,
    tick: &Tick,
) -> Result<v1::MadeToken, Problem> {
    let wanted = check(wanted, tick.now)?;
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    entropy(&mut *random);
    if *random == [0; RANDOM_BYTES] {
        return Err(Problem::internal(&"no random bytes came from the system"));
    }
    let value = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*random));
    let row = engine.store().try_write(actor, tick.now, |tx| {
        // The name is what the journal calls whoever has it: two at a time could not be told apart there.
        tx.turn(&format!("token {}", wanted.name))?;
        if token::list_all(tx)?.iter().any(|t| t.name == wanted.name && is_good(t, tick.now)) {
            let detail = format!("there is a good token named {} already; take that one back first, or use another name", wanted.name);
            return Err(Problem::new(StatusCode::CONFLICT, "name-taken", detail));
        }
        let row = Token { id: tx.next_id("token")?, ..wanted.clone() };
        token::insert(tx, &row, hash(&value))?;
        let body = json!({ "id": row.id, "role": row.role, "teams": row.teams, "vantage": row.vantage, "services": row.services,
            "expires_at": row.expires_at.map(|t| t.to_string()) });
        tx.journal(Entry::new("token.created", format!("token/{}", row.name), "", &body))?;
        Ok::<_, Problem>(row)
    })?;
    Ok(v1::MadeToken { token: convert::token(&row), value })
}

fn check(wanted: &v1::NewToken, now: Time) -> Result<Token, Problem> {
    let refuse = |detail: String| Err(Problem::unprocessable("bad-token", detail));
    let name = |text: &str| api::fleet::is_name(text);
    let Some(role) = Role::parse(&wanted.role) else {
        return refuse(format!("{} is no role; possible are viewer, owner, admin, vantage and build", pki::text::escape(&wanted.role)));
    };
    if !name(&wanted.name) {
        return refuse(format!("{} is no name: letters, digits and . _ - : @ + * are", pki::text::escape(&wanted.name)));
    }
    match (role, wanted.teams.len()) {
        (Role::Owner, 0) => return refuse(String::from("a token of role owner names the teams that it acts for: --team NAME")),
        (Role::Owner, 1..=TOKEN_TEAMS) => {}
        (Role::Owner, n) => return refuse(format!("a token acts for at most {TOKEN_TEAMS} teams, this one for {n}")),
        (_, 0) => {}
        (_, _) => return refuse(format!("only a token of role owner has teams, not one of role {}", role.as_str())),
    }
    if let Some(team) = wanted.teams.iter().find(|t| !name(t)) {
        return refuse(format!("{} is no name of a team", pki::text::escape(team)));
    }
    let vantage = match (role, wanted.vantage.as_deref().unwrap_or_default()) {
        // Whoever spoke for it could say what the server itself has seen.
        (Role::Vantage, engine::LOCAL) => return refuse(format!("{} is the server itself; name another vantage", engine::LOCAL)),
        (Role::Vantage, v) if name(v) => v.to_owned(),
        (Role::Vantage, _) => return refuse(String::from("a token of role vantage names its vantage: --vantage NAME")),
        (_, "") => String::new(),
        (_, _) => return refuse(format!("only a token of role vantage has a vantage, not one of role {}", role.as_str())),
    };
    match (role, wanted.services.len()) {
        (Role::Build, 0) => {
            return refuse(String::from("a token of role build names the services whose builds it speaks for: --service NAME"));
        }
        (Role::Build, 1..=TOKEN_SERVICES) => {}
        (Role::Build, n) => return refuse(format!("a token speaks for builds of at most {TOKEN_SERVICES} services, this one for {n}")),
        (_, 0) => {}
        (_, _) => return refuse(format!("only a token of role build has services, not one of role {}", role.as_str())),
    }
    if let Some(service) = wanted.services.iter().find(|s| !name(s)) {
        return refuse(format!("{} is no name of a service", pki::text::escape(service)));
    }
    let expires_at = wanted.expires_at.as_deref().map(|t| convert::time("expires_at", t)).transpose()?;
    if let Some(end) = expires_at.filter(|end| *end <= now) {
        return refuse(format!("it would have ended already, {end}"));
    }
    Ok(Token {
        id: 0,
        name: wanted.name.clone(),
        role: role.as_str().to_owned(),
        teams: wanted.teams.clone(),
        vantage,
        services: wanted.services.clone(),
        created_at: now,
        expires_at,
        revoked_at: None,
    })
}

/// SHA-256 of the text. A slow hash is for what people think up; this is 256 random bits.
fn hash(value: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, value.as_bytes()).as_ref());
    out
}

/// The hash of what stands in an `Authorization` header, where that could be a token at all.
pub(crate) fn presented(header: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, value) = text.split_once(' ')?;
    // RFC 9110 §11.1: the scheme's case does not count.
    let value = value.trim_matches(' ');
    let random = value.strip_prefix(PREFIX)?;
    let well_formed = random.len() == TEXT_LEN && random.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    (scheme.eq_ignore_ascii_case("bearer") && well_formed).then(|| hash(value))
}

/// Neither taken back nor ended.
fn is_good(row: &Token, now: Time) -> bool {
    row.revoked_at.is_none() && row.expires_at.is_none_or(|end| now < end)
}

/// Who has the token with this hash; none for one that is unknown, has ended, or was taken back.
pub(crate) fn principal(engine: &Engine, hash: [u8; 32], now: Time) -> Result<Option<Principal>, Problem> {
    let Some(row) = engine.store().read(|tx| token::by_hash(tx, hash))? else { return Ok(None) };
    let Some(role) = Role::parse(&row.role).filter(|_| is_good(&row, now)) else { return Ok(None) };
    Ok(Some(Principal {
        issuer: ISSUER.into(),
        subject: row.name,
        role,
        teams: row.teams,
        vantage: Some(row.vantage).filter(|v| !v.is_empty()),
        services: row.services,
        until: row.expires_at,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_could_be_a_token() {
        let random = "A".repeat(TEXT_LEN);
        let cases = [
            (format!("Bearer prn_{random}"), true),
            (format!("bearer prn_{random}"), true),
            (format!("Bearer  prn_{random} "), true),
            (format!("Basic prn_{random}"), false),
            (format!("Bearer {random}"), false),
            (format!("Bearer prn_{random}A"), false),
            (format!("Bearer prn_{}", &random[1..]), false),
            (format!("Bearer prn_{}+", &random[1..]), false),
            (String::from("Bearer"), false),
            (String::new(), false),
        ];
        for (header, expected) in cases {
            assert_eq!(presented(header.as_bytes()).is_some(), expected, "{header}");
        }
        assert!(presented(b"Bearer \xff").is_none());
    }

    #[test]
    fn what_makes_no_token() {
        let new = |role: &str, teams: &[&str], vantage: Option<&str>, expires: Option<&str>| v1::NewToken {
            name: "a".into(),
            role: role.into(),
            teams: teams.iter().map(|t| String::from(*t)).collect(),
            vantage: vantage.map(str::to_owned),
            services: Vec::new(),
            expires_at: expires.map(str::to_owned),
        };
        let now = Time::parse("2026-01-01").unwrap();
        let of = |role: &str, services: &[&str]| v1::NewToken {
            services: services.iter().map(|s| String::from(*s)).collect(),
            ..new(role, &[], None, None)
        };
        for (wanted, good) in [
            (new("viewer", &[], None, None), true),
            (new("owner", &["web"], None, Some("2026-01-01T00:00:01Z")), true),
            (new("vantage", &[], Some("office"), None), true),
            (of("build", &["shop", "blob"]), true),
            (of("build", &[]), false),
            (of("build", &["a b"]), false),
            (of("build", &["s"; TOKEN_SERVICES + 1]), false),
            (of("admin", &["shop"]), false),
            (v1::NewToken { teams: vec!["web".into()], ..of("build", &["shop"]) }, false),
            (new("root", &[], None, None), false),
            (new("owner", &[], None, None), false),
            (new("owner", &["a b"], None, None), false),
            (new("viewer", &["web"], None, None), false),
            (new("vantage", &[], None, None), false),
            (new("vantage", &[], Some("local"), None), false),
            (new("admin", &[], Some("office"), None), false),
            (new("admin", &[], None, Some("2026-01-01T00:00:00Z")), false),
            (new("admin", &[], None, Some("soon")), false),
            (v1::NewToken { name: "a\u{1b}[31m".into(), ..new("viewer", &[], None, None) }, false),
        ] {
            assert_eq!(check(&wanted, now).is_ok(), good, "{wanted:?}");
        }
    }
}
