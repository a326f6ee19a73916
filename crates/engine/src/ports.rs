//! The ports to the outside. Each takes a batch and gives it back in order, so that a simulation can stand behind it.

use domain::{
    Time,
    observation::Failure,
    words::{Offer, TargetId},
};

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Which target.
    pub target: TargetId,
    /// The name that is resolved, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The server name, empty for none.
    pub server_name: String,
    /// `tls`, `smtp`, …
    pub protocol: String,
    /// Addresses to dial besides those that the name resolves to: they left it lately, or it does not resolve now.
    pub also: Vec<String>,
    /// The offers that are due.
    pub offers: Vec<Offer>,
    /// The offers that are due without a server name.
    pub unnamed: Vec<Offer>,
    /// Fresh handshakes per address and offer, at least 1.
    pub handshakes: u32,
}

/// What one attempt brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `ip:port`.
    pub address: String,
    /// What was offered.
    pub offer: Offer,
    /// Whether no server name was sent to a target that has one.
    pub unnamed: bool,
    /// When it ended.
    pub at: Time,
    /// What was presented, or why nothing was.
    pub result: Result<Shown, Failure>,
}

/// What was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// DER, leaf first, in the order presented.
    pub chain: Vec<Vec<u8>>,
    /// The TLS version.
    pub protocol: String,
    /// The cipher suite.
    pub cipher: String,
}

/// What a look brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which target.
    pub target: TargetId,
    /// When the look ended.
    pub at: Time,
    /// To what the name resolved (`ip:port`), or why it did not.
    pub resolved: Result<Vec<String>, Failure>,
    /// In the order of the look.
    pub attempts: Vec<Attempt>,
}

/// Dials. The driver reads the clock at its own door.
pub trait Network {
    /// Looks at all of them; gives one answer for each, in order.
    fn look(&self, looks: &[Look]) -> Vec<Seen>;
}

/// A message on its way to one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Its number, which the receiver sees again when it comes twice.
    pub id: i64,
    /// The contact, as JSON.
    pub channel: String,
    /// The message, as JSON.
    pub message: String,
    /// The secret that the contact needs (a signing secret, a routing key), opened for this parcel alone.
    pub secret: Option<zeroize::Zeroizing<String>>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// The receiver took it.
    Delivered(String),
    /// Try again, perhaps not before so many seconds.
    Retry(Option<i64>, String),
    /// The receiver will never take it.
    Refused(String),
}

/// Delivers.
pub trait Post {
    /// Posts all of them; gives one answer for each, in order.
    fn post(&self, parcels: &[Parcel], now: Time) -> Vec<Posted>;
}

/// Fills a buffer with randomness.
pub type Entropy<'a> = dyn FnMut(&mut [u8]) + 'a;
