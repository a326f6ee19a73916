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

/// One request to an ACME server, with everything that it needs. What is secret in it was opened for this call alone.
pub struct Ordered {
    /// The order's number.
    pub order: i64,
    /// The issuer, as the inventory declares it.
    pub issuer: api::fleet::Issuer,
    /// The account's private key (PKCS#8, DER).
    pub account_key: zeroize::Zeroizing<Vec<u8>>,
    /// Where the server keeps the account, empty before it was made.
    pub account: String,
    /// The MAC key of the external account (base64url), where one is declared.
    pub eab_key: Option<zeroize::Zeroizing<String>>,
    /// The key that signs DNS updates (base64), where one is declared.
    pub dns_key: Option<zeroize::Zeroizing<String>>,
    /// PEM of the roots that the directory is trusted by; the system's if none.
    pub roots: Option<String>,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// The names that the request asks for.
    pub names: Vec<String>,
    /// The certificate that it takes over from (RFC 9773 §5: `base64url(aki).base64url(serial)`), empty for none.
    pub replaces: String,
    /// Where the server keeps the order, empty before it was placed.
    pub url: String,
    /// When it was placed there, or made here if it was not.
    pub since: Time,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Where the server keeps the account, as far as it is known now; empty where it has forgotten it, and it is registered anew.
    pub account: String,
    /// Where it keeps the order; empty where none was placed, or the old one is of no use any more.
    pub url: String,
    /// What it says.
    pub answer: Answer,
}

/// What an issuer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The certificate came: DER, leaf first.
    Issued(Vec<Vec<u8>>),
    /// It works on it, or somebody must still prove a name.
    Pending {
        /// How long it asked us to wait.
        retry_after: Option<domain::Span>,
        /// What is waited for, escaped.
        what: String,
    },
    /// It did not sign.
    Failed {
        /// Whether trying the same again is of no use before somebody acts.
        terminal: bool,
        /// What it says, escaped.
        detail: String,
        /// What each name failed of: (name, what), escaped.
        problems: Vec<(String, String)>,
        /// How long it asked us to wait.
        retry_after: Option<domain::Span>,
        /// Whose failure it is.
        fault: Fault,
    },
}

/// Whose a failure is: it decides who else need not be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The issuer's: it does not answer, or not as it should.
    Issuer,
    /// The issuer wants to be left alone, by all of our orders.
    Limit,
    /// This order's alone: its names, what proves them, or how this server was set up.
    Order,
}

/// A question of when a certificate should be renewed (RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The issuer, as the inventory declares it.
    pub issuer: api::fleet::Issuer,
    /// PEM of the roots that the directory is trusted by; the system's if none.
    pub roots: Option<String>,
    /// The certificate: `base64url(aki).base64url(serial)`.
    pub certificate: String,
}

/// What an issuer suggests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The window in which it should be renewed; none where the issuer suggests nothing, or nothing that can be read.
    pub window: Option<(Time, Time)>,
    /// When to ask again.
    pub retry_after: Option<domain::Span>,
    /// The explanation, or why there is none; escaped.
    pub explanation: String,
}

/// Signs, somewhere else.
pub trait Authority: Send + Sync {
    /// Takes each order one step further, and gives the answer of each by its position as soon as it is there: whoever is slow holds nobody
    /// up.
    fn order(&self, orders: &[Ordered], now: Time, answered: &mut dyn FnMut(usize, Answered));

    /// Takes back what an order that is given up left behind; what could not be taken back is logged.
    fn abandon(&self, order: &Ordered, now: Time);

    /// Asks when certificates should be renewed; gives one answer for each, in order.
    fn suggest(&self, questions: &[Question], now: Time) -> Vec<Suggestion>;
}
