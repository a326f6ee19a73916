//! The engine's post: messages on their way out, through the one HTTP client.

use crate::deliver::{self, Attempt, Kind, Message, Outcome, Prepared};
use api::fleet::Contact;
use domain::Time;
use engine::ports::{Parcel, Post, Posted};
use store::meta::Identity;
use tokio::runtime::Handle;

/// Delivers. Called from threads that may block.
pub struct Outside {
    client: outbound::Client,
    handle: Handle,
    /// Which life of which store speaks. After a restore the numbers of messages begin again where the backup was made, and a receiver
    /// that keeps ids would take a new alarm for one that it has.
    life: String,
    log: fn(&str),
}

impl Outside {
    /// A post that uses `client`, and `log` for contacts that are the log.
    pub fn new(client: outbound::Client, handle: Handle, life: &Identity, log: fn(&str)) -> Outside {
        let store = life.store_id.get(..8).unwrap_or(&life.store_id);
        Outside { client, handle, life: format!("{store}-{}", life.epoch), log }
    }

    async fn one(&self, parcel: &Parcel, now: Time) -> Posted {
        let parsed = (serde_json::from_str::<Contact>(&parcel.channel), serde_json::from_str::<Message>(&parcel.message));
        let (Ok(contact), Ok(message)) = parsed else {
            return Posted::Refused("the stored message cannot be read; it was written by another version".into());
        };
        let firing = !matches!(message.kind, Kind::IncidentResolved | Kind::IncidentRetired);
        let id = format!("{}-{}", self.life, parcel.id);
        if let Contact::Pagerduty { url: Some(url), .. } = &contact
            && !deliver::is_pagerduty(url)
            && !self.client.names(url)
        {
            // The routing key goes along in the clear, and it is any opaque secret that the inventory names.
            let detail = "a routing key goes to PagerDuty alone, or to a host that the server was started with: --allow-inside HOST";
            return Posted::Refused(detail.into());
        }
        let attempt = Attempt { id: &id, message: &message, firing, now };
        match deliver::prepare(&contact, attempt, parcel.secret.as_ref().map(|s| s.as_str())) {
            Ok(Prepared::Line(line)) => {
                (self.log)(&line);
                Posted::Delivered("written to the log".into())
            }
            Ok(Prepared::Request(request)) => posted(deliver::send(&self.client, request).await),
            Err(e) => posted(e.into()),
        }
    }
}

fn posted(outcome: Outcome) -> Posted {
    match outcome {
        Outcome::Delivered => Posted::Delivered("accepted".into()),
        Outcome::Retry { after, detail } => Posted::Retry(after.map(|s| s.as_secs()), detail),
        Outcome::Refused { detail } => Posted::Refused(detail),
    }
}

impl Post for Outside {
    fn post(&self, parcels: &[Parcel], now: Time) -> Vec<Posted> {
        self.handle.block_on(async {
            // Together: one receiver that hangs must not hold the others up.
            let all = parcels.iter().map(|p| Box::pin(self.one(p, now)));
            let mut running: Vec<_> = all.collect();
            let mut done: Vec<Option<Posted>> = running.iter().map(|_| None).collect();
            std::future::poll_fn(|cx| {
                let mut open = false;
                for (n, future) in running.iter_mut().enumerate() {
                    if done[n].is_none() {
                        match future.as_mut().poll(cx) {
                            std::task::Poll::Ready(posted) => done[n] = Some(posted),
                            std::task::Poll::Pending => open = true,
                        }
                    }
                }
                if open { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
            })
            .await;
            done.into_iter().map(|p| p.unwrap_or(Posted::Retry(None, "not tried".into()))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    /// What a receiver on this machine is sent, by whoever was told to post there.
    fn posted_to(contact: impl Fn(u16) -> serde_json::Value, allow: bool) -> (Posted, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(!allow).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let allowed: outbound::Allow = allow.then_some("127.0.0.1").into_iter().collect();
        let policy = outbound::Policy { allow: allowed, ..outbound::Policy::new(rustls::RootCertStore::empty()) };
        let life = Identity { store_id: "abcdef0123456789abcdef0123456789".into(), epoch: 3, created_at: Time::from_unix(0) };
        let outside = Outside::new(outbound::Client::new(policy).unwrap(), runtime.handle().clone(), &life, |_| {});
        let message = serde_json::to_string(&crate::deliver::sample::incident()).unwrap();
        let channel = contact(port);
        let message_key = channel.get("routing_key").map(|_| KEY.to_owned().into());
        let parcel = Parcel { id: 42, channel: channel.to_string(), message, secret: message_key };
        let receiver = std::thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return String::new() };
            let mut got = [0; 8192];
            let n = stream.read(&mut got).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&got[..n]).into_owned()
        });
        let posted = outside.post(&[parcel], Time::from_unix(0)).pop().unwrap();
        (posted, receiver.join().unwrap())
    }

    /// A routing key is any opaque secret that the inventory names: whoever writes the inventory must not have it sent anywhere.
    #[test]
    fn a_routing_key_goes_to_pagerduty_or_where_the_server_was_told() {
        let contact =
            |port: u16| serde_json::json!({ "channel": "pagerduty", "routing_key": "pd", "url": format!("http://127.0.0.1:{port}/") });
        let (posted, got) = posted_to(contact, false);
        assert!(matches!(&posted, Posted::Refused(detail) if detail.contains("--allow-inside")), "{posted:?}");
        assert_eq!(got, "");
        let (posted, got) = posted_to(contact, true);
        assert!(matches!(posted, Posted::Delivered(_)) && got.starts_with("POST / "), "{posted:?} {got}");
    }

    #[test]
    fn the_id_of_a_message_says_which_life_of_the_store_sent_it() {
        let contact = |port: u16| serde_json::json!({ "channel": "webhook", "url": format!("http://127.0.0.1:{port}/") });
        let (_, got) = posted_to(contact, true);
        assert!(got.contains("webhook-id: abcdef01-3-42\r\n"), "{got}");
    }
}
