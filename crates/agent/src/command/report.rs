//! `observe`: what is there; and with `--report` as evidence to the store, under a token and never under the installer's identity.

use std::path::PathBuf;

use agent::{Config, observe::Seen};
use api::v1::{Attempt, Failure, Report};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use outbound::{Client, HeaderValue, Method, Request, header, roots_from_pem};
use pki::Time;
use zeroize::Zeroizing;

use super::{Exit, Stop, output, read, say};

/// Largest answer to a report, in bytes.
const MOST_ANSWER: usize = 1 << 20;

/// Where evidence goes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Hand what was read to the store, for the targets that the configuration names
    #[arg(long, requires_all = ["server", "token_file"])]
    report: bool,
    /// The store's URL
    #[arg(long, value_name = "URL", env = "PERENNIAL_SERVER")]
    server: Option<String>,
    /// A file that holds a token which may report; not this agent's identity
    #[arg(long, value_name = "F")]
    token_file: Option<PathBuf>,
    /// Roots that the store's certificate must lead to, PEM
    #[arg(long, value_name = "F", env = "PERENNIAL_CA")]
    ca: Option<PathBuf>,
}

pub(super) async fn observe(config: &Config, args: &Args, now: Time, json: bool) -> Result<Exit, Stop> {
    let all = agent::observe::observe(config, now).await?;
    output::seen(&all, now, json)?;
    let ended = all.iter().any(|one| one.leaf.as_ref().is_some_and(|leaf| leaf.remaining <= 0));
    let broken = all.iter().any(|one| one.secret.is_some() && one.failure.is_some());
    let refused = if args.report { !send(config, args, &all, now).await? } else { false };
    Ok(if ended || broken || refused { Exit::Due } else { Exit::Ok })
}

/// Sends one report for each target that the configuration names; says whether all were taken.
async fn send(config: &Config, args: &Args, all: &[Seen], now: Time) -> Result<bool, Stop> {
    let usage = |text: String| Stop(Exit::Usage, text);
    let (Some(server), Some(token)) = (&args.server, &args.token_file) else {
        return Err(usage("--report needs --server and --token-file".to_owned()));
    };
    let base = server.trim_end_matches('/');
    let token = Zeroizing::new(String::from_utf8(read(token)?).map_err(|_| usage("--token-file holds no token".to_owned()))?);
    let roots = match &args.ca {
        Some(path) => roots_from_pem(&read(path)?).map_err(|error| usage(error.to_string()))?,
        None => return Err(usage("--report needs --ca, the roots by which the store is known".to_owned())),
    };
    let client = Client::for_server(base, roots, MOST_ANSWER).map_err(|error| usage(error.to_string()))?;
    let mut bearer =
        HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| usage("--token-file holds no token".to_owned()))?;
    bearer.set_sensitive(true);
    let mut good = true;
    let targets = config.installs.iter().filter_map(|install| install.target.as_deref());
    for target in targets.collect::<std::collections::BTreeSet<_>>() {
        let report = report(target, all, now);
        let body = serde_json::to_vec(&report).map_err(std::io::Error::other)?;
        let mut request = Request::new(Method::POST, format!("{base}/v1/observations")).with_body("application/json", body);
        request.headers.insert(header::AUTHORIZATION, bearer.clone());
        let answer = client.send(request).await.map_err(|error| Stop(Exit::Unreachable, format!("the store did not answer: {error}")))?;
        if !answer.status.is_success() {
            let problem: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
            let detail = problem.as_ref().and_then(|p| p.get("detail")?.as_str()).unwrap_or("no reason was given");
            say(&format!("{target}: refused with status {}: {}", answer.status.as_u16(), pki::text::escape(detail)));
            good = false;
        }
    }
    Ok(good)
}

/// What was read at one target.
fn report(target: &str, all: &[Seen], now: Time) -> Report {
    let of_target: Vec<&Seen> = all.iter().filter(|one| one.target.as_deref() == Some(target)).collect();
    let attempt = |one: &&Seen| Attempt {
        address: one.place.clone(),
        offer: "all".to_owned(),
        unnamed: false,
        chain: one.chain.iter().map(|der| STANDARD.encode(der)).collect(),
        protocol: String::new(),
        cipher: String::new(),
        failure: one.failure.as_ref().map(|detail| Failure { blame: "local".to_owned(), retry: true, detail: detail.clone() }),
    };
    Report {
        target: None,
        target_name: Some(target.to_owned()),
        method: "agent-read".to_owned(),
        at: now.to_string(),
        resolved: of_target.iter().map(|one| one.place.clone()).collect(),
        unresolved: None,
        attempts: of_target.iter().map(attempt).collect(),
        expires_at: None,
    }
}
