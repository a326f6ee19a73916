//! XMPP's STARTTLS (RFC 6120 §5.4).

use super::{Talk, foreign, refused};
use crate::{
    failure::{Blame, Failure, Phase},
    target::Target,
};

/// Where servers talk to servers (RFC 6120 §14.7), in a namespace of their own.
const SERVER_PORT: u16 = 5269;

pub(super) async fn upgrade(talk: &mut Talk<'_>, target: &Target) -> Result<(), Failure> {
    // Only what passed as a server name gets here, so there is nothing to escape in it.
    let name = target.tls_name()?.to_str().into_owned();
    let namespace = if target.port == SERVER_PORT { "jabber:server" } else { "jabber:client" };
    let open = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='http://etherx.jabber.org/streams' to='{name}' version='1.0'>"
    );
    talk.say(open.as_bytes()).await?;
    let features = talk.until(&["</stream:features>", "<stream:features/>", "<stream:error"]).await?;
    if find(&features, "<stream:error").is_some() {
        return Err(refused("the XMPP server ends the stream", &features));
    }
    if find(&features, "<starttls").is_none() {
        return Err(Failure::new(Phase::StartTls, Blame::Peer, false, "the XMPP server does not offer STARTTLS"));
    }
    talk.say(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
    let answer = talk.until(&["<proceed", "<failure", "</stream:stream>"]).await?;
    if !answer.ends_with(b"<proceed") {
        return Err(refused("the XMPP server refuses STARTTLS", &answer));
    }
    let tag = talk.until(&[">"]).await?;
    if !tag.ends_with(b"/>") {
        talk.until(&["</proceed>"]).await?;
    }
    Ok(())
}

impl Talk<'_> {
    /// Takes everything up to and including the first of `ends`.
    async fn until(&mut self, ends: &[&str]) -> Result<Vec<u8>, Failure> {
        loop {
            let first = ends.iter().filter_map(|end| find(&self.buffer, end).map(|at| at + end.len())).min();
            if let Some(end) = first {
                return Ok(self.buffer.drain(..end).collect());
            }
            if self.buffer.first().is_some_and(|byte| *byte != b'<' && !byte.is_ascii_whitespace())
                && self.buffer.len() >= 5
                && ends.len() > 1
            {
                return Err(foreign("XMPP", &self.buffer));
            }
            self.hear().await?;
        }
    }
}

fn find(haystack: &[u8], needle: &str) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle.as_bytes())
}
