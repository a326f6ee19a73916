//! `dns-01` by DNS update: RFC 2136, signed by TSIG (RFC 8945).
//!
//! The record is written at one server, and the CA may ask any of the zone's. So it is told only when all of them answer with
//! the record, or when some do and the others had their time.

mod message;
mod talk;
mod tsig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use outbound::{Allow, inside};
use pki::Time;
use pki::text::escape;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::Error;
use message::{ADDRESS_4, ADDRESS_6, Message, NAME_SERVER, TEXT, query, update};
use talk::{ANSWER_TIME, ask, ask_signed};
pub use tsig::{Algorithm, Key};

/// How long a record is kept by resolvers, in seconds: short, since the next order writes another one.
const TTL: u32 = 60;
/// How long all servers of a zone are waited for, in seconds; after that one that answers with the record is enough.
pub const ALL_SERVERS: i64 = 900;
/// How long any server is waited for, in seconds.
pub const ANY_SERVER: i64 = 3_600;
/// The most questions to name servers at a time.
const MAX_QUESTIONS: usize = 64;
/// The most name servers of a zone that are asked.
const MAX_SERVERS: usize = 16;

/// Where records are written, and how what is written is looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Updater {
    /// `host:port` of the primary server.
    pub server: String,
    /// The zone, without a final dot.
    pub zone: String,
    /// What signs updates.
    pub key: Key,
    /// `host:port` of the servers that are to answer with the record; where empty, those that the zone names, on port 53.
    pub servers: Vec<String>,
    /// Servers that may lie inside, by name.
    pub allow: Allow,
}

/// A server that is asked for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// As it was named, escaped.
    shown: String,
    address: Result<SocketAddr, String>,
}

impl Updater {
    /// Adds a record; one that is there stays.
    pub(crate) async fn add(&self, record: &str, value: &str, now: Time) -> Result<(), Error> {
        self.write("writing", record, value, Some(TTL), now).await
    }

    /// Removes a record; one that is not there is removed.
    pub(crate) async fn remove(&self, record: &str, value: &str, now: Time) -> Result<(), Error> {
        self.write("removing", record, value, None, now).await
    }

    async fn write(&self, verb: &str, record: &str, value: &str, ttl: Option<u32>, now: Time) -> Result<(), Error> {
        let doing = format!("{verb} {} at {}", escape(record), escape(&self.server));
        let zone = self.zone.trim_end_matches('.').to_ascii_lowercase();
        if record != zone && !record.ends_with(&format!(".{zone}")) {
            return Err(Error::Setup(format!("{doing}: it is not in the zone {}", escape(&zone))));
        }
        let server = self.resolve(&self.server).await.map_err(|why| Error::Setup(format!("{doing}: {why}")))?;
        let request = update(&zone, record, value, ttl).map_err(|why| Error::Setup(format!("{doing}: {why}")))?;
        let answer = Box::pin(ask_signed(server, request, &self.key, now)).await.map_err(|failure| failure.said(&doing))?;
        match answer.code() {
            0 => Ok(()),
            code => {
                let detail = format!("{doing}: the server answers {}", message::code_name(code));
                // SERVFAIL passes; everything else is until somebody changes something.
                Err(if code == 2 { Error::unproven(detail, 60) } else { Error::Setup(detail) })
            }
        }
    }

    /// The servers that are to answer with a record.
    pub(crate) async fn authorities(&self) -> Result<Vec<Server>, Error> {
        let mut found = Vec::new();
        if self.servers.is_empty() {
            let doing = format!("asking {} for the name servers of {}", escape(&self.server), escape(&self.zone));
            let primary = self.resolve(&self.server).await.map_err(|why| Error::Setup(format!("{doing}: {why}")))?;
            let question = query(&self.zone, NAME_SERVER).map_err(|why| Error::Setup(format!("{doing}: {why}")))?;
            let answer = Box::pin(ask(primary, question)).await.map_err(|failure| failure.said(&doing))?;
            let names: Vec<String> = answer.answers(NAME_SERVER).filter_map(|record| answer.name_in(record)).collect();
            for name in names.iter().take(MAX_SERVERS) {
                found.push(self.named(name, &answer).await);
            }
            if found.is_empty() {
                let code = message::code_name(answer.code());
                return Err(Error::Setup(format!("{doing}: it names none ({code}); is the zone right?")));
            }
        } else {
            for server in self.servers.iter().take(MAX_SERVERS) {
                found.push(Server { shown: escape(server), address: self.resolve(server).await });
            }
        }
        Ok(found)
    }

    /// A name server by its name; what came with its name is believed where the name does not resolve here.
    async fn named(&self, name: &str, answer: &Message) -> Server {
        let shown = escape(name);
        let resolved = self.resolve(&format!("{name}:53")).await;
        let glue = || answer.addresses(name, ADDRESS_4).or_else(|| answer.addresses(name, ADDRESS_6));
        let address = match (resolved, glue()) {
            (Err(why), Some(ip)) => match inside(ip).filter(|_| !self.allow.contains(name, 53)) {
                Some(kind) => Err(format!("{ip} is an inside address ({kind}); allow the host by name if this is meant ({why})")),
                None => Ok(SocketAddr::new(ip, 53)),
            },
            (resolved, _) => resolved,
        };
        Server { shown, address }
    }

    /// The address behind `host:port`, judged by the same guard as everything that goes out.
    async fn resolve(&self, server: &str) -> Result<SocketAddr, String> {
        let Some((host, port)) = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) else {
            return Err(format!("{} is not host:port", escape(server)));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let found = match host.parse() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match timeout(ANSWER_TIME, lookup_host((host.as_str(), port))).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(error)) => return Err(format!("{} does not resolve: {error}", escape(&host))),
                Err(_) => return Err(format!("{} was not resolved within {ANSWER_TIME:?}", escape(&host))),
            },
        };
        let allowed = self.allow.contains(&host, port);
        // IPv4 first: a machine without a route for IPv6 is common, a name server without IPv4 is not.
        let mut found: Vec<SocketAddr> = found.into_iter().collect();
        found.sort_by_key(|address| (address.is_ipv6(), *address));
        match found.iter().find(|address| allowed || inside(address.ip()).is_none()) {
            Some(address) => Ok(*address),
            None => Err(match found.first().and_then(|a| inside(a.ip()).map(|kind| (a.ip(), kind))) {
                Some((ip, kind)) => format!("{ip} is an inside address ({kind}); allow the host by name if this is meant"),
                None => format!("{} has no address", escape(&host)),
            }),
        }
    }

    /// Why the CA would not find each record yet; `None` where it would. All servers are asked for all records at the same time: one that is
    /// silent costs its time once.
    pub(crate) async fn hidden(&self, records: &[(String, String)], since: Time, now: Time) -> Result<Vec<Option<String>>, Error> {
        let servers = Box::pin(self.authorities()).await?;
        let room = Arc::new(Semaphore::new(MAX_QUESTIONS));
        let mut asked = JoinSet::new();
        for (n, (record, value)) in records.iter().enumerate() {
            for (m, server) in servers.iter().enumerate() {
                let (updater, server, record, value, room) = (self.clone(), server.clone(), record.clone(), value.clone(), room.clone());
                asked.spawn(async move {
                    let _place = room.acquire_owned().await;
                    let said = updater.shows(&server, &record, &value).await;
                    ((n, m), said.map_err(|why| format!("{} {why}", server.shown)))
                });
            }
        }
        let mut answers = BTreeMap::new();
        while let Some(one) = asked.join_next().await {
            let (which, said) = one.map_err(|error| Error::unproven(format!("asking the name servers broke off: {error}"), 60))?;
            answers.insert(which, said);
        }
        let waited = now.unix().saturating_sub(since.unix());
        let mut all = Vec::with_capacity(records.len());
        for (n, (record, _)) in records.iter().enumerate() {
            let of_record = answers.range((n, 0)..(n + 1, 0));
            let missing: Vec<&str> = of_record.filter_map(|(_, said)| said.as_ref().err().map(String::as_str)).collect();
            let shown = servers.len() - missing.len();
            if missing.is_empty() || (shown > 0 && waited >= ALL_SERVERS) {
                all.push(None);
                continue;
            }
            let why = format!("{}: {}", escape(record), missing.join("; "));
            if shown == 0 && waited >= ANY_SERVER {
                let detail = format!("no name server of {} shows the record after {waited} s: {why}", escape(&self.zone));
                return Err(Error::refused("challenge-not-visible", detail));
            }
            all.push(Some(why));
        }
        Ok(all)
    }

    async fn shows(&self, server: &Server, record: &str, value: &str) -> Result<(), String> {
        let address = server.address.clone()?;
        let question = query(record, TEXT)?;
        let answer = Box::pin(ask(address, question)).await.map_err(|failure| failure.to_string())?;
        if answer.answers(TEXT).any(|found| message::text(found.data) == value.as_bytes()) {
            return Ok(());
        }
        // A server that does not know the zone refuses; one that has not heard yet answers without the record.
        let knows = answer.code() == 0 || answer.code() == 3;
        Err(if knows { "does not show it".into() } else { format!("answers {}", message::code_name(answer.code())) })
    }
}
