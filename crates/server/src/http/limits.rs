//! Every limit of the HTTP side, by name. What reaches a limit is refused, never cut.

use std::time::Duration;

/// Most bytes of an ordinary JSON body.
pub const JSON_BYTES: usize = 1 << 20;
/// Most bytes of an import: 64 instances with chain and key, in base64.
pub const IMPORT_BYTES: usize = 4 << 20;
/// Most bytes of a vantage's report: 30 handshakes with each of some addresses, each with its chain.
pub const REPORT_BYTES: usize = 4 << 20;
/// Most bytes of what a scan found in a build: 10,000 things with long paths.
pub const CARRY_BYTES: usize = 16 << 20;
/// Most bytes of an inventory.
pub const FLEET_BYTES: usize = 64 << 20;
/// Most bytes of a passphrase with its envelope.
pub const UNSEAL_BYTES: usize = 16 << 10;

/// Most bytes of one line of a bulk import: a chain of a few RSA-4096 certificates and its key fit many times.
pub const BULK_LINE_BYTES: usize = 256 << 10;
/// Most lines of one bulk import.
pub const BULK_LINES: u64 = 2_000_000;
/// Lines that are checked and stored together, in one transaction.
pub const BULK_CHUNK: usize = 500;
/// Most bytes of the lines that are checked and stored together.
pub const BULK_CHUNK_BYTES: usize = 8 << 20;
/// Refused lines that are told one by one.
pub const BULK_REFUSALS: usize = 1000;
/// How long the sender of a stream may be silent.
pub const BODY_IDLE: Duration = Duration::from_secs(30);

/// How long a stream may take in all: two million lines take less, and whoever trickles must not keep a place for ever.
pub const STREAM_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Most header lines of a request.
pub const HEADER_COUNT: usize = 64;
/// Most bytes of all header lines.
pub const HEADER_BYTES: usize = 16 << 10;
/// Most bytes of path and query.
pub const URI_BYTES: usize = 8 << 10;

/// How long an ordinary request may take, its body included.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long a request may take that works on everything: an inventory, a sweep, a backup, the journal, a rotation.
pub const LONG_REQUEST_TIME: Duration = Duration::from_secs(15 * 60);
/// Requests at a time; more are told to come back.
pub const REQUESTS_AT_ONCE: usize = 256;
/// Requests at a time that work on everything: each may hold a large body or a long read.
pub const LONG_REQUESTS_AT_ONCE: usize = 4;

/// Requests with a body at a time from callers without a token; these can only open the store.
pub const STRANGERS_AT_ONCE: usize = 16;
/// How many of these one peer address (IPv6: one /64) may have: sixteen idle ones from one place must not keep the store sealed.
pub const STRANGERS_PER_PEER: usize = 2;
/// How long the body of a caller without a token may take; it is a passphrase.
pub const STRANGER_BODY_TIME: Duration = Duration::from_secs(5);
/// Tokens that are looked up at a time; more wait for their turn.
pub const LOGINS_AT_ONCE: usize = 16;

/// Failed authentications that one peer address (IPv6: one /64) is answered per minute.
pub const FAILED_LOGINS_PER_MINUTE: u32 = 30;
/// Connections that one peer address (IPv6: one /64) may have at a time, a sixteenth of all: a proxy before many people fits, and
/// one stranger who opens them and is silent does not keep the others out.
pub const CONNECTIONS_PER_PEER: usize = 256;
/// How long a client may leave what it asked for unread before its connection is closed.
pub const WRITE_IDLE: Duration = Duration::from_secs(60);
/// Attempts to unseal that one peer address may make per minute: each costs memory and time, and a passphrase can be guessed.
pub const UNSEALS_PER_MINUTE: u32 = 6;
/// Peer addresses that are remembered for these rates.
pub const PEERS_REMEMBERED: usize = 10_000;

/// Items of a page, where nothing is said.
pub const PAGE: i64 = 100;
/// Most items of a page.
pub const MOST_PER_PAGE: i64 = 1000;
/// Versions that the detail of a secret shows.
pub const VERSIONS_SHOWN: i64 = 100;
/// Targets, findings, lines and changes that a detail shows.
pub const PARTS_SHOWN: i64 = 200;
/// Sweeps that are shown.
pub const SWEEPS_SHOWN: i64 = 100;

/// Most bytes of a reason and of other free text, well below what the journal takes.
pub const TEXT_BYTES: usize = 2000;
/// Most bytes of a review.
pub const REVIEW_BYTES: usize = 64 << 10;
/// Most corrective actions of a review.
pub const ACTIONS: usize = 100;
/// Most teams of a token.
pub const TOKEN_TEAMS: usize = 100;
/// Most services of a token.
pub const TOKEN_SERVICES: usize = 100;

/// Most addresses of a report.
pub const REPORT_ADDRESSES: usize = 256;
/// Most certificates of a presented chain.
pub const CHAIN_CERTIFICATES: usize = 16;
/// Most bytes of a presented certificate.
pub const CERTIFICATE_BYTES: usize = 64 << 10;
/// Seconds after which a vantage asks again when there was nothing to look at.
pub const WORK_AGAIN: u64 = 5;

/// Deliveries of a message after which it counts as stuck.
pub const STUCK_AFTER: i64 = 5;
