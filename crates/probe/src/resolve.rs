//! Name to addresses: all of them, within a time limit, up to a number that is said aloud.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use crate::{
    failure::{Blame, Failure, Phase},
    limits::MAX_ADDRESSES,
};

/// Names whose addresses are given instead of looked up, as with curl's `--resolve`.
#[derive(Debug, Clone, Default)]
pub struct Overrides(BTreeMap<String, Vec<IpAddr>>);

impl Overrides {
    /// From here on `name` has these addresses and no others.
    pub fn set(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.0.insert(canonical(name), addresses);
    }

    fn get(&self, name: &str) -> Option<&Vec<IpAddr>> {
        if self.0.is_empty() { None } else { self.0.get(&canonical(name)) }
    }
}

/// Names are compared without case and without the root's dot (RFC 4343).
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The addresses of a name, sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What to dial; never more than [`MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// How many more there were. They are not dialled, so the caller must not call the target healthy.
    pub beyond: usize,
}

impl Resolved {
    /// The failure that stands for the addresses that were not dialled.
    pub fn beyond_failure(&self) -> Option<Failure> {
        (self.beyond > 0).then(|| {
            let total = self.addresses.len() + self.beyond;
            Failure::new(
                Phase::Resolve,
                Blame::Limits,
                false,
                format!("the name has {total} addresses; {MAX_ADDRESSES} were dialled, {} were not", self.beyond),
            )
        })
    }

    fn of(mut addresses: Vec<IpAddr>) -> Resolved {
        addresses.sort_unstable();
        addresses.dedup();
        let beyond = addresses.len().saturating_sub(MAX_ADDRESSES);
        addresses.truncate(MAX_ADDRESSES);
        Resolved { addresses, beyond }
    }
}

/// All addresses of `host`, which may be an address itself.
pub(crate) async fn resolve(host: &str, overrides: &Overrides, limit: Duration) -> Result<Resolved, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Resolved { addresses: vec![address], beyond: 0 });
    }
    let found = match overrides.get(host) {
        Some(addresses) => addresses.clone(),
        None => match timeout(limit, lookup_host((host, 0))).await {
            Err(_) => {
                let detail = format!("the name did not resolve within {} s", limit.as_secs_f32());
                return Err(Failure::new(Phase::Resolve, Blame::Dns, true, detail));
            }
            Ok(Err(error)) => {
                // getaddrinfo's EAI_AGAIN is the only "later, perhaps"; a name that does not exist needs a person.
                let text = error.to_string();
                let retry = text.contains("Temporary failure") || error.raw_os_error().is_some();
                return Err(Failure::new(Phase::Resolve, Blame::Dns, retry, text));
            }
            Ok(Ok(found)) => found.map(|socket| socket.ip()).collect(),
        },
    };
    if found.is_empty() {
        return Err(Failure::new(Phase::Resolve, Blame::Dns, true, "the name has no addresses"));
    }
    Ok(Resolved::of(found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::net::Ipv4Addr;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn many(count: u32) -> Overrides {
        let mut overrides = Overrides::default();
        // Backwards and twice, so that sorting and de-duplication have work to do.
        let addresses = (0..count).rev().chain(0..count).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x7f01_0000 + n))).collect();
        overrides.set("Many.Example.", addresses);
        overrides
    }

    #[tokio::test]
    async fn two_hundred_addresses_are_two_hundred_dials() {
        let resolved = resolve("many.example", &many(200), LIMIT).await.unwrap();
        assert_eq!((resolved.addresses.len(), resolved.beyond), (200, 0));
        assert!(resolved.addresses.is_sorted());
        assert_eq!(resolved.beyond_failure(), None);
    }

    #[tokio::test]
    async fn beyond_the_cap_is_a_failure_that_says_so() {
        let resolved = resolve("many.example", &many(300), LIMIT).await.unwrap();
        assert_eq!((resolved.addresses.len(), resolved.beyond), (MAX_ADDRESSES, 44));
        let failure = resolved.beyond_failure().unwrap();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::Resolve, Blame::Limits, false));
        assert!(failure.detail.contains("300 addresses"), "{failure}");
    }

    #[tokio::test]
    async fn an_address_is_itself_and_a_wrong_name_is_a_dns_failure() {
        let literal = resolve("::1", &Overrides::default(), LIMIT).await.unwrap();
        assert_eq!(literal.addresses, ["::1".parse::<IpAddr>().unwrap()]);
        // RFC 6761 §6.4: never resolves, wherever this runs.
        let failure = resolve("nobody.invalid", &Overrides::default(), LIMIT).await.unwrap_err();
        assert_eq!((failure.phase, failure.blame), (Phase::Resolve, Blame::Dns));
        let mut empty = Overrides::default();
        empty.set("empty.example", Vec::new());
        assert_eq!(resolve("empty.example", &empty, LIMIT).await.unwrap_err().blame, Blame::Dns);
    }
}
