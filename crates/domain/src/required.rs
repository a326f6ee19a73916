//! What must be green at a target: every address of every required vantage, for every server name and offer (law 3); and since
//! when each of these is asked for.
//!
//! Each vantage has its own addresses. A name may resolve differently from each of them (split DNS), and what one no longer
//! resolves says nothing about another.

use crate::{
    Span, Time,
    observation::Record,
    words::{Combination, Method, Offer, Target},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Addresses that left the name are looked at for this long.
pub const AFTER_LEAVING: Span = Span::hours(24);

/// An address of a target, as one vantage resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// For which vantage.
    pub vantage: String,
    /// `ip:port`.
    pub address: String,
    /// When this vantage first saw it under the name.
    pub first_seen: Time,
    /// When the name stopped resolving to it there.
    pub left_at: Option<Time>,
}

impl Address {
    /// Whether this vantage still looks at it at `now`.
    pub fn is_dialled(&self, now: Time) -> bool {
        self.left_at.is_none_or(|at| now < at + AFTER_LEAVING)
    }
}

/// What is asked at each address: server names and offers. Each required key type asks with the offer that shows it.
pub fn asks(target: &Target) -> Vec<(String, Offer)> {
    let mut offers = target.offers.clone();
    for offer in target.key_types.iter().map(|k| k.offer()) {
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }
    let mut names = alloc::vec![target.server_name.clone()];
    if target.names_without_sni && !target.server_name.is_empty() {
        names.push(String::new());
    }
    names.into_iter().flat_map(|name| offers.iter().map(move |offer| (name.clone(), *offer)).collect::<Vec<_>>()).collect()
}

/// The combinations that must be green. A vantage that never resolved the name is asked for under the name itself.
pub fn required(target: &Target, addresses: &[Address]) -> Vec<Combination> {
    let asks = asks(target);
    let mut all = Vec::new();
    for vantage in &target.required_vantages {
        let mut places: Vec<&str> =
            addresses.iter().filter(|a| a.vantage == *vantage && a.left_at.is_none()).map(|a| a.address.as_str()).collect();
        if places.is_empty() {
            places.push(&target.authority);
        }
        for address in places {
            for (server_name, offer) in &asks {
                all.push(Combination {
                    address: address.into(),
                    vantage: vantage.clone(),
                    server_name: server_name.clone(),
                    offer: *offer,
                    method: Method::Dialled,
                });
            }
        }
    }
    all
}

/// Whether a record says that a vantage could not resolve the name. It stands until the name resolves there.
pub fn is_unresolved(target: &Target, addresses: &[Address], record: &Record) -> bool {
    let c = &record.combination;
    c.method == Method::Dialled
        && c.address == target.authority
        && !addresses.iter().any(|a| a.vantage == c.vantage && a.address == c.address)
}

/// Since when a combination is required: it has its patience from then, however old its target is.
pub fn since(target: &Target, addresses: &[Address], c: &Combination) -> Time {
    let address = addresses.iter().find(|a| a.vantage == c.vantage && a.address == c.address).map(|a| a.first_seen);
    let asked = [vantage_key(&c.vantage), offer_key(c.offer), name_key(&c.server_name)];
    let asked = asked.iter().filter_map(|key| target.required_since.get(key).copied());
    asked.chain(address).fold(target.declared_at, Time::max)
}

/// [`Target::required_since`] of a declaration that replaces another: what is asked for as before keeps its time, the rest begins
/// at `now`.
pub fn required_since(before: &Target, after: &Target, now: Time) -> BTreeMap<String, Time> {
    let known = keys(before);
    let time = |key: &String| if known.contains(key) { before.required_since.get(key).copied() } else { Some(now) };
    keys(after).into_iter().filter_map(|key| time(&key).map(|at| (key, at))).collect()
}

fn keys(target: &Target) -> BTreeSet<String> {
    let vantages = target.required_vantages.iter().map(|v| vantage_key(v));
    vantages.chain(asks(target).iter().flat_map(|(name, offer)| [name_key(name), offer_key(*offer)])).collect()
}

fn vantage_key(vantage: &str) -> String {
    format!("vantage {vantage}")
}

fn offer_key(offer: Offer) -> String {
    format!("offer {offer}")
}

fn name_key(name: &str) -> String {
    format!("name {name}")
}

/// A combination in words: the address, from where, and what was unusual about the question.
pub fn in_words(target: &Target, c: &Combination) -> String {
    let mut text = pki::text::escape(&c.address).to_string();
    if c.method != Method::Dialled {
        return text;
    }
    text += &format!(" from {}", c.vantage);
    if c.offer != Offer::All {
        text += &format!(", accepting {} keys only", c.offer);
    }
    if c.server_name.is_empty() && !target.server_name.is_empty() {
        text += ", without a server name";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Backends, KeyType, TargetId, TargetState};

    fn at(n: i64) -> Time {
        Time::from_unix(1_000_000 + n)
    }
    fn target(vantages: &[&str], offers: &[Offer], key_types: &[KeyType], unnamed: bool) -> Target {
        Target {
            id: TargetId(1),
            name: "www".into(),
            declared_at: at(0),
            state: TargetState::Active,
            drained_until: None,
            production: true,
            backends: Backends::Shared,
            server_name: "www.example".into(),
            region: String::new(),
            required_vantages: vantages.iter().map(ToString::to_string).collect(),
            offers: offers.to_vec(),
            authority: "www.example:443".into(),
            names_without_sni: unnamed,
            key_types: key_types.to_vec(),
            required_since: BTreeMap::new(),
            retired: None,
            baseline: None,
        }
    }
    fn address(vantage: &str, address: &str, first_seen: i64, left: Option<i64>) -> Address {
        Address { vantage: vantage.into(), address: address.into(), first_seen: at(first_seen), left_at: left.map(at) }
    }

    #[test]
    fn every_address_of_each_vantage_for_every_question() {
        let check = |target: &Target, addresses: &[Address], expected: &[&str]| {
            let all: Vec<String> = required(target, addresses).iter().map(|c| in_words(target, c)).collect();
            assert_eq!(all, expected);
        };
        let both = [address("eu", "192.0.2.1:443", 0, None), address("us", "192.0.2.2:443", 0, None)];
        let plain = target(&["eu", "us"], &[Offer::All], &[], false);
        check(&plain, &both, &["192.0.2.1:443 from eu", "192.0.2.2:443 from us"]);
        check(&plain, &both[..1], &["192.0.2.1:443 from eu", "www.example:443 from us"]);
        check(
            &plain,
            &[address("eu", "192.0.2.1:443", 0, Some(5)), both[1].clone()],
            &["www.example:443 from eu", "192.0.2.2:443 from us"],
        );
        check(&plain, &[], &["www.example:443 from eu", "www.example:443 from us"]);
        let asked = target(&["eu"], &[Offer::All, Offer::Rsa], &[KeyType::Rsa, KeyType::Ed25519], true);
        check(
            &asked,
            &both,
            &[
                "192.0.2.1:443 from eu",
                "192.0.2.1:443 from eu, accepting rsa keys only",
                "192.0.2.1:443 from eu, accepting ed25519 keys only",
                "192.0.2.1:443 from eu, without a server name",
                "192.0.2.1:443 from eu, accepting rsa keys only, without a server name",
                "192.0.2.1:443 from eu, accepting ed25519 keys only, without a server name",
            ],
        );
        let nameless = Target { server_name: String::new(), ..asked };
        assert_eq!(required(&nameless, &both).len(), 3, "an address is asked without a name anyway");
    }

    #[test]
    fn patience_begins_with_the_latest_that_is_new() {
        let before = target(&["eu"], &[Offer::All], &[], false);
        let mut after = target(&["eu", "us"], &[Offer::All], &[KeyType::Rsa], false);
        after.required_since = required_since(&before, &after, at(100));
        assert_eq!(after.required_since.values().copied().collect::<Vec<_>>(), [at(100), at(100)], "a vantage and an offer");
        let addresses = [address("eu", "192.0.2.1:443", 50, None)];
        let of = |target: &Target| required(target, &addresses).iter().map(|c| since(target, &addresses, c)).collect::<Vec<_>>();
        assert_eq!(of(&before), [at(50)], "an address is as young as it is");
        assert_eq!(of(&after), [at(50), at(100), at(100), at(100)]);
        // Said again it stays; said otherwise it begins anew; what is no longer asked for is forgotten.
        assert_eq!(required_since(&after, &after, at(200)), after.required_since);
        let renamed = Target { server_name: "new.example".into(), ..after.clone() };
        assert_eq!(required_since(&after, &renamed, at(200)).get("name new.example"), Some(&at(200)));
        assert!(required_since(&after, &before, at(200)).is_empty());
        let again = Target { required_since: BTreeMap::new(), ..before };
        assert_eq!(required_since(&again, &after, at(300)).len(), 2);
    }
}
