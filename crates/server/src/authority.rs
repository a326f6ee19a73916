//! The engine's port to issuers outside, on real sockets: each order one step further, all of a batch together.

use acme::{Binding, Ca, Credentials, Error, Placed, Solver, Step, Wanted, Whose, ari::Window, dns, hook::Hook, http, tls};
use api::fleet::{Challenge, Issuer, TsigAlgorithm};
use domain::{Span, Time};
use engine::ports::{Answer, Answered, Authority, Fault, Ordered, Question, Suggestion};
use pki::PrivateKey;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Handle, task::JoinSet, time::timeout};

/// How long one step may take. An order is claimed for two minutes; whoever is slower goes on in the next step.
const STEP: Duration = Duration::from_secs(90);
/// How long it may take to take back what an order that is given up left behind.
const ABANDON: Duration = Duration::from_secs(20);
/// How long after a step that took longer.
const AFTER_SLOW: Span = Span::minutes(1);
/// The largest answer of a CA, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// How many directories are remembered.
const MAX_CAS: usize = 256;

/// How names are proven, as the server was started.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Where `http-01` is answered: what port 80 of the names leads to.
    pub http: Option<SocketAddr>,
    /// Where `tls-alpn-01` is answered: what port 443 of the names leads to.
    pub tls: Option<SocketAddr>,
    /// Programs that write DNS records, by the names that the inventory knows them by.
    pub hooks: Vec<(String, PathBuf)>,
}

/// Asks CAs. Called from threads that may block.
pub struct Authorities {
    handle: Handle,
    policy: outbound::Policy,
    http: Option<http::Responder>,
    tls: Option<tls::Responder>,
    hooks: BTreeMap<String, Hook>,
    /// One for each directory and its roots, so that a directory is fetched once for many steps.
    cas: Mutex<BTreeMap<(String, String), Ca>>,
}

/// A reason that is no CA's.
fn wrong(detail: impl Into<String>) -> Error {
    Error::Setup(detail.into())
}

impl Authorities {
    /// Opens the listeners that were asked for, and answers on them for as long as `tasks` lives. `policy` is what everything
    /// that goes out is held to.
    ///
    /// # Errors
    /// An address cannot be listened on; the text says which.
    pub async fn open(ways: &Ways, policy: outbound::Policy, tasks: &mut JoinSet<()>) -> Result<Authorities, String> {
        let listen = async |at: SocketAddr, what: &str| {
            TcpListener::bind(at).await.map_err(|error| format!("listening on {at} for {what}: {error}"))
        };
        let (mut http, mut tls) = (None, None);
        if let Some(at) = ways.http {
            let (responder, listener) = (http::Responder::new(), listen(at, "http-01").await?);
            tasks.spawn(responder.clone().listen(listener));
            http = Some(responder);
        }
        if let Some(at) = ways.tls {
            let (responder, listener) = (tls::Responder::new(), listen(at, "tls-alpn-01").await?);
            tasks.spawn(responder.clone().listen(listener).map_err(|error| error.to_string())?);
            tls = Some(responder);
        }
        let hooks = ways.hooks.iter().map(|(name, path)| (name.clone(), Hook::new(name, path.clone()))).collect();
        let policy = outbound::Policy { max_response: MAX_ANSWER, ..policy };
        Ok(Authorities { handle: Handle::current(), policy, http, tls, hooks, cas: Mutex::default() })
    }

    fn ca(&self, issuer: &Issuer, roots: Option<&str>) -> Result<Ca, Error> {
        let directory = issuer.directory.clone().ok_or_else(|| wrong(format!("the issuer {} has no directory", issuer.name)))?;
        let key = (directory.clone(), roots.unwrap_or_default().to_owned());
        let mut cas = self.cas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ca) = cas.get(&key) {
            return Ok(ca.clone());
        }
        let mut policy = self.policy.clone();
        if let Some(pem) = roots {
            policy.roots = Arc::new(outbound::roots_from_pem(pem.as_bytes()).map_err(|error| wrong(error.to_string()))?);
        }
        let ca = Ca::new(directory, outbound::Client::new(policy).map_err(|error| wrong(error.to_string()))?);
        if cas.len() >= MAX_CAS {
            cas.clear();
        }
        cas.insert(key, ca.clone());
        Ok(ca)
    }

    fn solver(&self, ask: &Ordered) -> Result<Solver, Error> {
        let issuer = &ask.issuer;
        let without =
            |option: &str| wrong(format!("the issuer {} proves names by {option}, which this server was not started with", issuer.name));
        match (issuer.challenge, &issuer.dns, &issuer.dns_hook) {
            (None, ..) => Err(wrong(format!("the issuer {} does not say how names are proven (challenge)", issuer.name))),
            (Some(Challenge::Http01), ..) => self.http.clone().map(Solver::Http).ok_or_else(|| without("--acme-http-listen")),
            (Some(Challenge::TlsAlpn01), ..) => self.tls.clone().map(Solver::Tls).ok_or_else(|| without("--acme-tls-listen")),
            (Some(Challenge::Dns01), Some(zone), _) => {
                let algorithm = match zone.algorithm {
                    TsigAlgorithm::HmacSha256 => dns::Algorithm::Sha256,
                    TsigAlgorithm::HmacSha384 => dns::Algorithm::Sha384,
                    TsigAlgorithm::HmacSha512 => dns::Algorithm::Sha512,
                };
                let secret = ask.dns_key.as_ref().ok_or_else(|| wrong(format!("the key {} was not given", zone.key_name)))?;
                let key = dns::Key::parse(&zone.key_name, algorithm, secret)?;
                Ok(Solver::Dns(dns::Updater {
                    server: zone.server.clone(),
                    zone: zone.zone.clone(),
                    key,
                    servers: zone.servers.clone(),
                    allow: self.policy.allow.clone(),
                }))
            }
            (Some(Challenge::Dns01), None, Some(name)) => {
                self.hooks.get(name).cloned().map(Solver::Hook).ok_or_else(|| without(&format!("--dns-hook {name}=PATH")))
            }
            (Some(Challenge::Dns01), None, None) => Err(wrong(format!("the issuer {} does not say who writes records", issuer.name))),
        }
    }

    /// One step of one order.
    async fn step(&self, ask: &Ordered, now: Time) -> Result<Answered, Error> {
        let (ca, solver) = (self.ca(&ask.issuer, ask.roots.as_deref())?, self.solver(ask)?);
        let key = PrivateKey::from_der(&ask.account_key).map_err(|error| wrong(format!("the account's key: {error}")))?;
        let pending = |account: &str, url: &str, after: i64, what: String| Answered {
            account: account.to_owned(),
            url: url.to_owned(),
            answer: Answer::Pending { retry_after: Some(Span::seconds(after)), what },
        };
        if ask.account.is_empty() {
            let binding = match (&ask.issuer.eab_key_id, &ask.eab_key) {
                (Some(id), Some(key)) => Some(Binding::parse(id, key)?),
                _ => None,
            };
            let made = Box::pin(ca.register(key, &ask.issuer.contact, binding.as_ref(), now)).await?;
            // The account is kept before the first order: then its URL is never asked for twice.
            return Ok(pending(made.account(), "", 0, format!("{} has an account for us", ask.issuer.name)));
        }
        let credentials = Credentials::new(ask.issuer.directory.clone().unwrap_or_default(), &ask.account, key);
        let wanted = wanted(ask);
        let placed = (!ask.url.is_empty()).then_some(Placed { url: &ask.url, since: ask.since });
        match Box::pin(ca.advance(&credentials, &wanted, &solver, placed, now)).await? {
            Step::Placed { url, notes } => {
                said(ask, &notes);
                Ok(pending(&ask.account, &url, 0, format!("{} has the order", ask.issuer.name)))
            }
            Step::Waiting { awaits, after, notes } => {
                let what = [vec![awaits], notes].concat().join("; ");
                Ok(pending(&ask.account, &ask.url, after, what))
            }
            Step::Issued(issued) => {
                said(ask, &issued.notes);
                let chain = issued.chain.iter().map(|certificate| certificate.der().to_vec()).collect();
                Ok(Answered { account: ask.account.clone(), url: ask.url.clone(), answer: Answer::Issued(chain) })
            }
        }
    }

    async fn answer(&self, ask: &Ordered, now: Time) -> Answered {
        let failed =
            |terminal, detail: String, problems, retry_after, fault| Answer::Failed { terminal, detail, problems, retry_after, fault };
        let mut account = ask.account.clone();
        let (url, answer) = match timeout(STEP, Box::pin(self.step(ask, now))).await {
            Ok(Ok(answered)) => return answered,
            Err(_) => {
                // It goes on where it was, and whoever never gets on is told so.
                let what = format!("a step took longer than {} s", STEP.as_secs());
                (ask.url.clone(), failed(false, what, Vec::new(), Some(AFTER_SLOW), Fault::Order))
            }
            Ok(Err(Error::Later { detail, after, whose })) => {
                let fault = match whose {
                    Whose::Ca => Fault::Issuer,
                    Whose::Limit => Fault::Limit,
                    Whose::Proof => Fault::Order,
                };
                (ask.url.clone(), failed(false, detail, Vec::new(), Some(Span::seconds(after)), fault))
            }
            Ok(Err(Error::Setup(detail))) => (ask.url.clone(), failed(true, detail, Vec::new(), None, Fault::Order)),
            // RFC 8555 §7.3.1: the same key is registered again, and the order is placed anew.
            Ok(Err(Error::Refused(refusal))) if refusal.code == "accountDoesNotExist" => {
                account.clear();
                (String::new(), failed(false, refusal.detail, Vec::new(), None, Fault::Order))
            }
            Ok(Err(Error::Refused(refusal))) => {
                // What the CA has forgotten is asked for anew; what it refused is refused until somebody acts.
                let (forgotten, names) = (refusal.code == "order-gone", &refusal.names);
                let problems = names.iter().map(|one| (one.name.clone(), format!("{} ({})", one.detail, one.code))).collect();
                (String::new(), failed(!forgotten, refusal.detail, problems, None, Fault::Order))
            }
        };
        Answered { account, url, answer }
    }

    async fn ask(&self, question: &Question, now: Time) -> Result<Suggestion, Error> {
        let ca = self.ca(&question.issuer, question.roots.as_deref())?;
        let found = Box::pin(ca.suggestion(&question.certificate, now)).await?;
        let window = match found.window {
            Window::Within(start, end) => Some((start, end)),
            // A window that has passed: it ends now.
            Window::Now => Some((now - Span::seconds(1), now)),
            Window::ByPolicy => None,
        };
        let explanation = found.explanation.into_iter().chain(found.note).collect::<Vec<_>>().join("; ");
        Ok(Suggestion { window, retry_after: Some(Span::seconds(found.again)), explanation })
    }
}

fn wanted(ask: &Ordered) -> Wanted {
    Wanted {
        names: ask.names.clone(),
        csr: ask.csr.clone(),
        profile: ask.issuer.profile.clone(),
        replaces: Some(ask.replaces.clone()).filter(|id| !id.is_empty()),
        chain: ask.issuer.chain.clone(),
    }
}

/// What was not as asked for is no failure, and nobody's secret.
fn said(ask: &Ordered, notes: &[String]) {
    for note in notes {
        tracing::warn!(issuer = %ask.issuer.name, order = ask.order, "{note}");
    }
}

/// All of them together, in order: one that hangs must not hold the others up.
async fn together<T>(mut running: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut open = false;
        for (future, slot) in running.iter_mut().zip(&mut done).filter(|(_, slot)| slot.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(answer) => *slot = Some(answer),
                std::task::Poll::Pending => open = true,
            }
        }
        if open { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

impl Authority for Authorities {
    fn order(&self, orders: &[Ordered], now: Time, answered: &mut dyn FnMut(usize, Answered)) {
        // What is written down meanwhile may block; what asks must not wait for it.
        let (send, answers) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let one = async |n: usize, ask: &Ordered| {
                    let _gone = send.send((n, self.answer(ask, now).await));
                };
                self.handle.block_on(together(orders.iter().enumerate().map(|(n, ask)| Box::pin(one(n, ask))).collect()));
                drop(send);
            });
            for (n, answer) in answers {
                answered(n, answer);
            }
        });
    }

    fn abandon(&self, order: &Ordered, now: Time) {
        let abandon = async {
            let (ca, solver) = (self.ca(&order.issuer, order.roots.as_deref())?, self.solver(order)?);
            let key = PrivateKey::from_der(&order.account_key).map_err(|error| wrong(format!("the account's key: {error}")))?;
            let credentials = Credentials::new(order.issuer.directory.clone().unwrap_or_default(), &order.account, key);
            Box::pin(ca.abandon(&credentials, &wanted(order), &solver, &order.url, now)).await
        };
        let left = match self.handle.block_on(timeout(ABANDON, Box::pin(abandon))) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {} s", ABANDON.as_secs()),
        };
        tracing::warn!(issuer = %order.issuer.name, order = order.order, "what proved the names of an order that was given up may be left: {left}");
    }

    fn suggest(&self, questions: &[Question], now: Time) -> Vec<Suggestion> {
        let one = async |question: &Question| match timeout(STEP, self.ask(question, now)).await {
            Ok(Ok(suggestion)) => suggestion,
            Ok(Err(Error::Later { detail, after, .. })) => {
                Suggestion { window: None, retry_after: Some(Span::seconds(after)), explanation: detail }
            }
            Ok(Err(other)) => Suggestion { window: None, retry_after: None, explanation: other.to_string() },
            Err(_) => {
                let explanation = format!("the CA did not answer within {} s", STEP.as_secs());
                Suggestion { window: None, retry_after: None, explanation }
            }
        };
        self.handle.block_on(together(questions.iter().map(|question| Box::pin(one(question))).collect()))
    }
}
