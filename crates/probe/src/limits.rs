//! Every limit of a dial, by name.

use std::time::Duration;

/// How many addresses of one name are dialled. What lies beyond is reported as a failure, never dropped in silence.
pub const MAX_ADDRESSES: usize = 256;

/// Dials per second to one destination address, unless told otherwise.
///
/// A connection that is closed politely leaves one TIME_WAIT behind for 60 s, and there are 28,232 ephemeral ports: 470 per second
/// to one address and port is where `EADDRNOTAVAIL` begins. 400 leaves room for others on the same machine.
pub const RATE_PER_ADDRESS: u32 = 400;

/// How long each phase of a dial may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// Name to addresses.
    pub resolve: Duration,
    /// TCP.
    pub connect: Duration,
    /// From the greeting to the go-ahead, where the protocol upgrades a plain connection.
    pub starttls: Duration,
    /// From ClientHello to the peer's verified Finished.
    pub handshake: Duration,
    /// From close_notify to the end of the peer's stream.
    pub close: Duration,
}

impl Default for Phases {
    fn default() -> Self {
        Phases {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            starttls: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            close: Duration::from_secs(1),
        }
    }
}

/// How much may be read and written in one dial, all phases together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the peer. A handshake message ends at 64 KiB (so does a chain); the rest is room for greetings and tickets.
    pub bytes_in: u32,
    /// Bytes to the peer.
    pub bytes_out: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes_in: 128 * 1024, bytes_out: 16 * 1024 }
    }
}

/// The longest line a STARTTLS peer may send (RFC 5321 §4.5.3.1.5 asks for 512; real servers exceed it).
pub(crate) const LINE: usize = 4096;

/// The most bytes a STARTTLS peer may send in one reply, all lines together.
pub(crate) const REPLY: usize = 16 * 1024;
