//! The client against real servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod guard;
mod kept;
mod limits;
mod servers;
mod tls;

use std::time::Duration;

use outbound::{Allow, Client, Method, Policy, Request, Timeouts};
use rustls::RootCertStore;

/// Long enough for a loaded machine, short enough to wait for where running out is the point.
const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn client(allow: &[&str], change: impl FnOnce(&mut Policy)) -> Client {
    let mut policy = Policy::new(RootCertStore::empty());
    policy.allow = allow.iter().collect::<Allow>();
    policy.timeouts = Timeouts { resolve: PATIENT, connect: PATIENT, handshake: PATIENT, exchange: PATIENT };
    change(&mut policy);
    Client::new(policy).unwrap()
}

fn get(url: impl Into<String>) -> Request {
    Request::new(Method::GET, url)
}
