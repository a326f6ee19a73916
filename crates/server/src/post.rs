//! The engine's post: messages on their way out, through the one HTTP client.

use crate::deliver::{self, Attempt, Kind, Message, Outcome, Prepared};
use api::fleet::Contact;
use domain::Time;
use engine::ports::{Parcel, Post, Posted};
use tokio::runtime::Handle;

/// Delivers. Called from threads that may block.
pub struct Outside {
    client: outbound::Client,
    handle: Handle,
    log: fn(&str),
}

impl Outside {
    /// A post that uses `client`, and `log` for contacts that are the log.
    pub fn new(client: outbound::Client, handle: Handle, log: fn(&str)) -> Outside {
        Outside { client, handle, log }
    }

    async fn one(&self, parcel: &Parcel, now: Time) -> Posted {
        let parsed = (serde_json::from_str::<Contact>(&parcel.channel), serde_json::from_str::<Message>(&parcel.message));
        let (Ok(contact), Ok(message)) = parsed else {
            return Posted::Refused("the stored message cannot be read; it was written by another version".into());
        };
        let firing = !matches!(message.kind, Kind::IncidentResolved | Kind::IncidentRetired);
        let id = parcel.id.to_string();
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
