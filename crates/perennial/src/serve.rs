//! `perennial server`: from the command line to a server that runs until it is told to stop.

use clap::Args as ClapArgs;
use server::{
    authority::Ways,
    run::{AgentsDoor, Options, StartError, start},
};
use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};
use tracing_subscriber::EnvFilter;

/// Run the store: it observes, tells, and answers the API
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The folder for the database, the API's certificate and the first token
    #[arg(long, env = "PERENNIAL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// sqlite:PATH or postgres://…; SQLite in the data folder if absent
    #[arg(long, env = "PERENNIAL_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Where the API listens
    #[arg(long, default_value = "127.0.0.1:7443", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where agents come in, such as 0.0.0.0:7444; without it none can
    #[arg(long, value_name = "ADDR")]
    listen_agents: Option<SocketAddr>,
    /// HOST or HOST:PORT by which agents reach that; join strings say it. Else the address, or the first --name
    #[arg(long, value_name = "HOST[:PORT]", requires = "listen_agents")]
    agents_address: Option<String>,
    /// Agents that are connected at a time
    #[arg(long, value_name = "N", default_value_t = server::agents::MOST_AGENTS)]
    most_agents: usize,
    /// Connections of agents from one address at a time
    #[arg(long, value_name = "N", default_value_t = server::agents::AGENTS_PER_ADDRESS)]
    agents_per_address: usize,
    /// A name or address that the API's certificate covers besides its own; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// A file with the passphrase of the store's key; without any key the server starts sealed
    #[arg(long = "passphrase-file", env = "PERENNIAL_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_files: Vec<PathBuf>,
    /// A key file instead of a passphrase; made at the first start. Both may be repeated around a rotation: the first that opens is used
    #[arg(long = "key-file", env = "PERENNIAL_KEY_FILE", value_name = "FILE")]
    key_files: Vec<PathBuf>,
    /// A host (or host:port) that messages may go to although it lies inside; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_inside: Vec<String>,
    /// PEM with roots that receivers of messages are trusted by, besides the system's
    #[arg(long, value_name = "FILE")]
    outgoing_ca: Option<PathBuf>,
    /// A URL that is posted to while the server lives, so that somebody outside notices when it dies
    #[arg(long, value_name = "URL")]
    heartbeat: Option<String>,
    /// An https:// URL whose answers carry a Date: an independent witness of the clock; may be repeated
    #[arg(long = "clock-witness", value_name = "URL")]
    clock_witnesses: Vec<String>,
    /// Seconds between two heartbeats
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    heartbeat_every: u64,
    /// Dial these addresses instead of resolving a name: NAME=ADDR[,ADDR…]; may be repeated
    #[arg(long, value_name = "NAME=ADDR", value_parser = client::adopt::resolve)]
    resolve: Vec<(String, Vec<IpAddr>)>,
    /// Dials per second to one address; 0 is unlimited
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Where ACME's http-01 is answered; port 80 of the names must lead here
    #[arg(long, value_name = "ADDR")]
    acme_http_listen: Option<SocketAddr>,
    /// Where ACME's tls-alpn-01 is answered; port 443 of the names must lead here
    #[arg(long, value_name = "ADDR")]
    acme_tls_listen: Option<SocketAddr>,
    /// A program that writes DNS records for dns-01, by the name that issuers know it by: NAME=PATH; may be repeated
    #[arg(long = "dns-hook", value_name = "NAME=PATH", value_parser = hook)]
    dns_hooks: Vec<(String, PathBuf)>,
    /// Log lines as JSON
    #[arg(long)]
    log_json: bool,
}

/// `NAME=PATH` of a program that is there.
fn hook(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH, such as zone=/usr/local/bin/dns-hook")?;
    let path = PathBuf::from(path);
    if name.is_empty() || !path.is_absolute() {
        return Err(String::from("write NAME=PATH with an absolute path, such as zone=/usr/local/bin/dns-hook"));
    }
    if !path.is_file() {
        return Err(format!("there is no program at {}", path.display()));
    }
    Ok((name.to_owned(), path))
}

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(args: Args) -> ExitCode {
    log(args.log_json, "warn,perennial=info");
    let options = Options {
        data: args.data,
        database: args.database,
        listen: args.listen,
        names: args.names,
        passphrase_files: args.passphrase_files,
        key_files: args.key_files,
        allow_inside: args.allow_inside,
        heartbeat: args.heartbeat.map(|url| (url, args.heartbeat_every)),
        resolve: args.resolve,
        rate_per_address: args.rate,
        outgoing_ca: args.outgoing_ca,
        clock_witnesses: args.clock_witnesses,
        ways: Ways { http: args.acme_http_listen, tls: args.acme_tls_listen, hooks: args.dns_hooks },
        agents: args.listen_agents.map(|listen| AgentsDoor {
            listen,
            address: args.agents_address,
            limits: server::agents::Limits { agents: args.most_agents.max(1), per_address: args.agents_per_address.max(1) },
        }),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&StartError::Io { what: "starting".into(), error }),
    };
    runtime.block_on(async {
        let mut running = match start(options).await {
            Ok(running) => running,
            Err(error) => return failed(&error),
        };
        greet(&running);
        tokio::select! {
            () = running.serve() => return ExitCode::FAILURE,
            () = told_to_stop() => {}
        }
        running.stop().await;
        ExitCode::SUCCESS
    })
}

fn greet(running: &server::run::Running) {
    let mut talk = std::io::stderr().lock();
    let _ = writeln!(talk, "perennial {} listens at {}", env!("CARGO_PKG_VERSION"), running.url);
    let _ = writeln!(talk, "  clients trust {}", running.ca.display());
    if let Some((at, reached)) = &running.agents {
        let _ = writeln!(talk, "  agents come in at {at}, and reach it as {reached}");
    }
    if running.first_token.is_some() {
        let _ = writeln!(talk, "  the first token lies in {} (readable by you alone)", running.client_file.display());
    }
    let folder = running.client_file.parent().map(|p| p.display().to_string()).unwrap_or_default();
    let _ = writeln!(talk, "  try: perennial status --data {folder}");
    if !running.engine.is_open() {
        let _ = writeln!(talk, "  it is sealed: it observes, tells and answers, and needs its key to store or use one: perennial unseal");
    }
}

/// Logs to standard error; `RUST_LOG` says how much, else `usual`.
pub(crate) fn log(json: bool, usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process is refused, and the first one stays.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}

fn failed(error: &StartError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "perennial: {error}");
    ExitCode::FAILURE
}

async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
