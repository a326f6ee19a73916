//! What a build carries, registered with a server: facts alone, as a whole or not at all.

use std::collections::BTreeSet;

use api::v1::{Carried, CarryRelease, FoundInBuild};
use artifact::{Finding, KeyState, What};
use client::{Error, Exit, Remote};
use pki::{Fingerprint, text::escape};
use serde_json::Value;

use super::scan::Args;
use crate::cli::variable;

/// Most things that are registered for one build; the server takes no more.
const MOST: usize = 10_000;
/// Longest path or subject that is sent as it is, in bytes.
const MAX_TEXT: usize = 4096;

/// A server that is to hear of a build.
pub(super) struct Online {
    runtime: tokio::runtime::Runtime,
    remote: Remote,
    body: CarryRelease,
    /// Certificates that were found already: each is registered once, where it was found first.
    known: BTreeSet<Fingerprint>,
    too_many: bool,
}

/// Who begins without these would look at everything before it is refused.
const WANTED: &str = "name the service and the build to register what it carries with a server (--service S --build ID), or add --offline to \
    see what it carries and ask no server";

impl Online {
    /// Settles who is to hear of the build, and asks whether this may be registered there before anything is looked at.
    pub(super) fn begin(args: &Args) -> Result<Online, Error> {
        let (Some(service), Some(build)) = (&args.service, &args.build) else { return Err(Error::Usage(WANTED.into())) };
        let (remote, remarks) = Remote::connect(&args.connection, &variable)?;
        for remark in remarks {
            super::scan::complain(&remark);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Output)?;
        let route = client::Route::to(&["releases", "carry"]).ask("service", service).ask("build", build);
        match runtime.block_on(remote.get(&route)) {
            Err(error) if error.code() != Some("not-found") => return Err(error),
            _ => {}
        }
        let body = CarryRelease { service: service.clone(), build: build.clone(), when: args.when.to_api(), found: Vec::new() };
        Ok(Online { runtime, remote, body, known: BTreeSet::new(), too_many: false })
    }

    /// Remembers what is registered of a finding: of a certificate what everybody may know, of a key that it lies there.
    pub(super) fn note(&mut self, finding: &Finding) {
        let found = match &finding.what {
            What::Certificate(certificate) if self.known.insert(certificate.fingerprint()) => FoundInBuild {
                fingerprint_sha256: Some(certificate.fingerprint().to_string()),
                subject: Some(sent(certificate.subject())),
                not_after: Some(certificate.not_after().to_string()),
                ..FoundInBuild::default()
            },
            What::PrivateKey(key) if key.state == KeyState::Clear => FoundInBuild { private_key: true, ..FoundInBuild::default() },
            _ => return,
        };
        self.too_many |= self.body.found.len() >= MOST;
        if !self.too_many {
            self.body.found.push(FoundInBuild { path: sent(&finding.path), ..found });
        }
    }

    /// Registers what was found, and says what the store makes of it: the answer as it came, and read.
    pub(super) fn register(self) -> Result<(Value, Carried), Error> {
        if self.too_many {
            let what = format!("the build carries more than {MOST} different certificates and keys, which is the most that is registered");
            return Err(Error::Usage(format!("{what}; nothing was registered. Scan its parts as builds of their own")));
        }
        self.runtime.block_on(self.remote.carry(&self.body))
    }
}

fn sent(text: &str) -> String {
    if text.len() > MAX_TEXT { escape(text) } else { text.to_owned() }
}

/// How a scan ends with what the store made of the build. `found` is what the scan alone would end with.
pub(super) fn exit(found: Exit, carried: &Carried) -> Exit {
    // Of keys and strangers the scan has judged by itself, with what was accepted.
    let judged = |code: &str| matches!(code, "key-in-build" | "carries-unknown");
    let due = carried.detail.findings.iter().any(|finding| finding.level != "info" && !judged(&finding.code));
    // Production has a newer version than this build would bring.
    let back = carried.detail.findings.iter().any(|finding| finding.code == "takes-back");
    match carried.detail.release.verdict.as_str() {
        _ if back => Exit::Late,
        "late" => Exit::Late,
        _ if due => Exit::Due,
        _ => found,
    }
}
