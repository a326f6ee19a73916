//! What is said to the store, and what comes back.

use std::time::Duration;

use api::agent::{
    FETCH, Fetch, JOIN, Join, Joined, MANIFEST, MOST_WAIT, Material, Pending, RENEW, REPORT, REQUEST, Renew, Renewed, Report, Request,
    SignedManifest, Taken,
};
use outbound::{Client, Method, Response, StatusCode, retry_after, roots_from_pem};
use pki::text::escape;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    error::Error,
    state::{Identity, State, ders},
};

/// Largest answer, in bytes.
const MOST_ANSWER: usize = 16 << 20;
/// How much longer than its wait a long poll may take.
const POLL_SLACK: Duration = Duration::from_secs(15);
/// Longest sentence of a refusal that is repeated, in bytes.
const MOST_SAID: usize = 600;

/// The store, as this agent reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    client: Client,
    base: String,
    /// Which start of the agent speaks: so the store notices a copy that only asks.
    instance: String,
}

/// An answer that may ask for patience.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Here(T),
    /// Not before so many seconds; what is waited for.
    Later(u64, String),
}

/// A failure, and whether the store wants to be left alone for a while.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    /// Seconds that the store asked for.
    pub(crate) after: Option<u64>,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble { error, after: None }
    }
}

impl Store {
    /// With the agent's own certificate.
    pub(crate) fn known(state: &State, identity: &Identity, instance: &str) -> Result<Store, Error> {
        let key = state.identity_key(identity)?;
        let chain = ders(&identity.chain)?.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec()));
        let roots = roots_from_pem(identity.roots.as_bytes()).map_err(|error| Error::Answer(error.to_string()))?;
        let base = format!("https://{}", identity.address);
        let client = Client::for_agent(&base, roots, outbound::Identity { chain, key }, MOST_ANSWER);
        let client = client.map_err(|error| Error::Answer(error.to_string()))?.keeping_alive();
        Ok(Store { client, base, instance: instance.to_owned() })
    }

    /// Before there is one: the authority's fingerprint is all that is known.
    pub(crate) fn first(address: &str, ca: &str) -> Result<Store, Error> {
        let (base, ca) = (format!("https://{address}"), ca.to_owned());
        let is_authority = move |der: &[u8]| pki::Fingerprint::of(der).to_string() == ca;
        let client = Client::for_first_contact(&base, is_authority, MOST_ANSWER).map_err(|error| Error::Answer(error.to_string()))?;
        Ok(Store { client, base, instance: String::new() })
    }

    pub(crate) async fn join(&self, join: &Join) -> Result<Joined, Trouble> {
        self.post(JOIN, join).await.and_then(read)
    }

    pub(crate) async fn renew(&self, renew: &Renew) -> Result<Renewed, Trouble> {
        self.post(RENEW, renew).await.and_then(read)
    }

    /// Waits for something newer than `after`.
    pub(crate) async fn manifest(&self, after: i64, wait: u64) -> Result<Option<SignedManifest>, Trouble> {
        let wait = wait.min(MOST_WAIT);
        let asked = format!("{}{MANIFEST}?after={after}&wait={wait}&instance={}", self.base, self.instance);
        let mut request = outbound::Request::new(Method::GET, asked);
        request.timeout = Some(Duration::from_secs(wait) + POLL_SLACK);
        let response = self.send(request).await?;
        if response.status == StatusCode::NO_CONTENT { Ok(None) } else { read(response).map(Some) }
    }

    pub(crate) async fn request(&self, request: &Request) -> Result<Answer<Material>, Trouble> {
        material(self.post(REQUEST, &Request { instance: Some(self.instance.clone()), ..request.clone() }).await?)
    }

    pub(crate) async fn fetch(&self, fetch: &Fetch) -> Result<Answer<Material>, Trouble> {
        material(self.post(FETCH, &Fetch { instance: Some(self.instance.clone()), ..fetch.clone() }).await?)
    }

    pub(crate) async fn report(&self, report: &Report) -> Result<Taken, Trouble> {
        self.post(REPORT, report).await.and_then(read)
    }

    async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<Response, Trouble> {
        let body = Zeroizing::new(serde_json::to_vec(body).map_err(|error| Error::Answer(error.to_string()))?);
        let request = outbound::Request::new(Method::POST, format!("{}{path}", self.base)).with_body("application/json", body.to_vec());
        self.send(request).await
    }

    async fn send(&self, request: outbound::Request) -> Result<Response, Trouble> {
        let response = self.client.send(request).await.map_err(|error| Error::Unreachable(error.to_string()))?;
        if response.status.is_success() {
            return Ok(response);
        }
        // A problem document says why (RFC 9457); anything else is no store of ours.
        let problem: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
        let text = |key: &str| problem.as_ref().and_then(|p| p.get(key)?.as_str().map(str::to_owned));
        let mut said = match (text("detail"), text("code")) {
            (Some(detail), Some(code)) => format!("{} [{}]", escape(&detail), escape(&code)),
            (Some(detail), None) => escape(&detail),
            _ => "no reason was given".to_owned(),
        };
        if let Some((end, _)) = said.char_indices().find(|(at, _)| *at >= MOST_SAID) {
            said.truncate(end);
            said.push('…');
        }
        let said = format!("status {}: {said}", response.status.as_u16());
        let busy = response.status.is_server_error() || response.status == StatusCode::TOO_MANY_REQUESTS;
        let error = if busy { Error::Unreachable(said) } else { Error::Refused(said) };
        Err(Trouble { error, after: retry_after(&response) })
    }
}

fn read<T: DeserializeOwned>(response: Response) -> Result<T, Trouble> {
    // The parser's own message could repeat what is secret.
    serde_json::from_slice(&response.body).map_err(|error| {
        Error::Answer(format!(
            "line {} column {} is not what this agent knows; is the store newer than the agent?",
            error.line(),
            error.column()
        ))
        .into()
    })
}

fn material(response: Response) -> Result<Answer<Material>, Trouble> {
    if response.status == StatusCode::ACCEPTED {
        let pending: Pending = read(response)?;
        return Ok(Answer::Later(pending.retry_after, escape(&pending.detail)));
    }
    read(response).map(Answer::Here)
}
