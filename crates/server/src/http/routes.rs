//! The one table of routes. What is not in it does not exist; what is in it passes the gate and stands in the description.

use api::v1;
use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodRouter, delete, get, post},
};

use super::{
    bulk, drills, findings, fleet, forecast,
    gate::{Shared, gate},
    incidents, issuing, keys,
    limits::{BULK_CHUNK_BYTES, CARRY_BYTES, FLEET_BYTES, IMPORT_BYTES, JSON_BYTES, REPORT_BYTES, UNSEAL_BYTES},
    nodes, observations, openapi,
    openapi::{Schema, list, page, schema},
    permission::Action,
    reach, releases, rollouts, secrets, status, targets, tokens, upkeep,
};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Everybody, where the server says so; else whoever may read.
    Metrics,
    /// Whoever may do this.
    Needs(Action),
}

/// What a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brings {
    Nothing,
    Json,
    Import,
    Report,
    Carry,
    Fleet,
    Unseal,
    Lines,
}

impl Brings {
    /// Most bytes of it; of a stream, most bytes that are held at a time.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Brings::Nothing | Brings::Json => JSON_BYTES,
            Brings::Import => IMPORT_BYTES,
            Brings::Report => REPORT_BYTES,
            Brings::Carry => CARRY_BYTES,
            Brings::Fleet => FLEET_BYTES,
            Brings::Unseal => UNSEAL_BYTES,
            Brings::Lines => BULK_CHUNK_BYTES,
        }
    }
}

/// How long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Short,
    Long,
    /// As long as something comes in.
    Stream,
}

/// One route.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) body: Brings,
    pub(crate) time: Time,
    /// One line for people.
    pub(crate) summary: &'static str,
    /// What may stand in the query.
    pub(crate) query: &'static [&'static str],
    pub(crate) takes: Option<Schema>,
    pub(crate) gives: Gives,
    on: fn() -> MethodRouter<Shared>,
}

/// What a good answer is.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    Json(Schema),
    /// A list of what was revoked (RFC 2585 §4.2).
    Crl,
    Text,
    Description,
}

const fn read(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    gives: Schema,
    on: fn() -> MethodRouter<Shared>,
) -> Route {
    Route {
        method: "GET",
        path,
        access: Access::Needs(Action::Read),
        body: Brings::Nothing,
        time: Time::Short,
        summary,
        query,
        takes: None,
        gives: Gives::Json(gives),
        on,
    }
}

const fn write(
    path: &'static str,
    action: Action,
    summary: &'static str,
    takes: Schema,
    gives: Schema,
    on: fn() -> MethodRouter<Shared>,
) -> Route {
    Route { method: "POST", access: Access::Needs(action), body: Brings::Json, takes: Some(takes), ..read(path, summary, &[], gives, on) }
}

const fn open(path: &'static str, access: Access, summary: &'static str, gives: Gives, on: fn() -> MethodRouter<Shared>) -> Route {
    Route { access, gives, ..read(path, summary, &[], schema::<v1::Status>, on) }
}

impl Route {
    const fn needs(self, action: Action) -> Route {
        Route { access: Access::Needs(action), ..self }
    }

    const fn brings(self, body: Brings) -> Route {
        Route { body, ..self }
    }

    const fn long(self) -> Route {
        Route { time: Time::Long, ..self }
    }
}

const PAGED: &[&str] = &["after", "limit"];

/// Every route.
pub(crate) static ROUTES: &[Route] = &[
    read("/v1/status", "How the store stands", &[], schema::<v1::Status>, || get(status::show)),
    read("/v1/secrets", "Secrets, the least margin first", &["team", "after", "limit"], page::<v1::Secret>, || get(secrets::list)),
    read("/v1/secrets/{name}", "A secret with versions, targets and findings", &[], schema::<v1::SecretDetail>, || get(secrets::show)),
    write("/v1/secrets/{name}/versions", Action::Store, "Store a certificate", schema::<v1::Import>, schema::<v1::Stored>, || {
        post(secrets::import)
    })
    .brings(Brings::Import),
    write("/v1/secrets/{name}/opaque", Action::Store, "Store opaque bytes", schema::<v1::PutOpaque>, schema::<v1::Stored>, || {
        post(secrets::put_opaque)
    })
    .brings(Brings::Import),
    write(
        "/v1/secrets/{name}/attest",
        Action::Attest,
        "Say that production uses a version, or when a tracked secret ends",
        schema::<v1::Attest>,
        schema::<openapi::Done>,
        || post(secrets::attest),
    ),
    write(
        "/v1/secrets/{name}/retire",
        Action::Retire,
        "Take a secret whose targets are retired out of the inventory",
        schema::<v1::Reason>,
        schema::<openapi::Done>,
        || post(secrets::retire),
    ),
    read("/v1/targets", "Targets, the least margin first", &["secret", "after", "limit"], page::<v1::Target>, || get(targets::list)),
    read("/v1/targets/{name}", "A target with what was observed", &[], schema::<v1::TargetDetail>, || get(targets::show)),
    write("/v1/targets/{name}/look", Action::Look, "Look at a target now", schema::<v1::Reason>, schema::<openapi::Done>, || {
        post(targets::look)
    }),
    write(
        "/v1/targets/{name}/retire",
        Action::Retire,
        "Take a target out of the inventory",
        schema::<v1::Reason>,
        schema::<openapi::Done>,
        || post(targets::retire),
    ),
    read("/v1/nodes", "Nodes, in the order of their names", &["region", "after", "limit"], page::<v1::Node>, || get(nodes::list)),
    read("/v1/nodes/{name}", "A node with what it is to have, and who speaks for it", &[], schema::<v1::NodeDetail>, || get(nodes::show)),
    write(
        "/v1/nodes/{name}/join-token",
        Action::Nodes,
        "Give the right to join once; it is shown this once",
        schema::<v1::Invite>,
        schema::<v1::Invited>,
        || post(nodes::invite),
    ),
    write(
        "/v1/nodes/{name}/rejoin",
        Action::Nodes,
        "Take the identity of a node back and let it join anew",
        schema::<v1::Rejoin>,
        schema::<v1::Invited>,
        || post(nodes::rejoin),
    ),
    write(
        "/v1/nodes/{name}/revoke",
        Action::Nodes,
        "Take the identity of a node back; what it has installed stays",
        schema::<v1::Reason>,
        schema::<openapi::Done>,
        || post(nodes::revoke),
    ),
    write(
        "/v1/readmit-nodes",
        Action::Nodes,
        "After a restore: agents go on living on the certificates that the restored store knows",
        schema::<v1::Reason>,
        schema::<v1::Readmitted>,
        || post(nodes::readmit),
    ),
    read("/v1/manifest-key", "How the key that signs manifests stands", &[], schema::<v1::ManifestKey>, || get(nodes::manifest_key)),
    write(
        "/v1/manifest-key",
        Action::Nodes,
        "Announce another key for manifests, or go on without agents that have not answered in their time",
        schema::<v1::ReplaceManifestKey>,
        schema::<v1::ManifestKey>,
        || post(nodes::replace_manifest_key),
    ),
    read(
        "/v1/nodes/{name}/manifest",
        "Its manifest as the store signs it, with the chains and without any key, to be carried by hand",
        &[],
        schema::<v1::NodeManifest>,
        || get(nodes::manifest),
    )
    .needs(Action::Nodes),
    read("/v1/findings", "What the rules say now", &["secret", "after", "limit"], page::<v1::Finding>, || get(findings::findings)),
    read("/v1/plan/findings", "What the rules say now about what is planned", PAGED, page::<v1::PlanFinding>, || get(findings::plan)),
    read("/v1/drills", "Drills of the inventory, with how they stand", PAGED, page::<v1::Drill>, || get(drills::list)),
    write("/v1/drills/run", Action::Drill, "Run a drill", schema::<v1::RunDrill>, schema::<v1::DrillRunDetail>, || post(drills::run)),
    read("/v1/drills/runs", "Rehearsals, the newest first", &["name", "after", "limit"], page::<v1::DrillRun>, || get(drills::runs)),
    read("/v1/drills/runs/{id}", "A rehearsal with what each step took", &[], schema::<v1::DrillRunDetail>, || get(drills::show)),
    write(
        "/v1/drills/runs/{id}/abort",
        Action::Drill,
        "End a rehearsal, and lift what it made go wrong",
        schema::<v1::Reason>,
        schema::<v1::DrillRunDetail>,
        || post(drills::abort),
    ),
    read("/v1/releases", "Releases, the newest first", &["service", "after", "limit"], page::<v1::Release>, || get(releases::list)),
    write(
        "/v1/releases",
        Action::Plan,
        "Create a release; the same again is the one that exists",
        schema::<v1::NewRelease>,
        schema::<v1::ReleaseDetail>,
        || post(releases::create),
    ),
    read(
        "/v1/releases/queue",
        "Releases that are not over, in the order in which they should ship",
        &["train", "service", "after", "limit"],
        page::<v1::Release>,
        || get(releases::queue),
    ),
    write(
        "/v1/releases/carry",
        Action::Carry,
        "Register what a scan found in a build; its release is created where there is none",
        schema::<v1::CarryRelease>,
        schema::<v1::Carried>,
        || post(releases::carry),
    )
    .brings(Brings::Carry),
    read(
        "/v1/releases/carry",
        "What was registered for a build, and what the store makes of it now",
        &["service", "build"],
        schema::<v1::Carried>,
        || get(releases::carries),
    )
    .needs(Action::Carry),
    read("/v1/releases/{id}", "A release with what it carries and what the rules say of it", &[], schema::<v1::ReleaseDetail>, || {
        get(releases::show)
    }),
    read("/v1/releases/{id}/items", "Everything that was found in its build", PAGED, page::<v1::ReleaseItem>, || get(releases::items)),
    write(
        "/v1/releases/{id}/plan",
        Action::Plan,
        "Give it another date, or another place in a train",
        schema::<v1::PlanRelease>,
        schema::<v1::ReleaseDetail>,
        || post(releases::plan),
    ),
    write("/v1/releases/{id}/delay", Action::Plan, "Delay it", schema::<v1::DelayRelease>, schema::<v1::ReleaseDetail>, || {
        post(releases::delay)
    }),
    write(
        "/v1/releases/{id}/stage",
        Action::Plan,
        "Say what becomes of it in one region",
        schema::<v1::StageRelease>,
        schema::<v1::ReleaseDetail>,
        || post(releases::stage),
    ),
    write(
        "/v1/releases/{id}/status",
        Action::Plan,
        "Say that it is built, on its way, deployed, or cancelled",
        schema::<v1::ReleaseIs>,
        schema::<v1::ReleaseDetail>,
        || post(releases::is),
    ),
    read(
        "/v1/forecast",
        "What breaks if all goes as planned, or otherwise",
        &["until", "delay", "cancel", "silence", "secret", "service", "grouped", "after", "limit"],
        schema::<v1::Forecast>,
        || get(forecast::show),
    )
    .long(),
    read("/v1/spof", "What production hangs on besides its certificates", &[], schema::<v1::SinglePoints>, || get(forecast::single_points))
        .long(),
    read("/v1/incidents", "Incidents, the newest first; open ones, or all", &["all", "after", "limit"], page::<v1::Incident>, || {
        get(incidents::list)
    }),
    read("/v1/incidents/{id}", "An incident with its lines and actions", &[], schema::<v1::IncidentDetail>, || get(incidents::show)),
    write(
        "/v1/incidents/{id}/acknowledge",
        Action::Handle,
        "Say that somebody looks after it",
        schema::<v1::Reason>,
        schema::<v1::Incident>,
        || post(incidents::acknowledge),
    ),
    write(
        "/v1/incidents/{id}/mitigate",
        Action::Handle,
        "Say that users are no longer hurt",
        schema::<v1::Reason>,
        schema::<v1::Incident>,
        || post(incidents::mitigate),
    ),
    write(
        "/v1/incidents/{id}/review",
        Action::Review,
        "Write down root cause and corrective actions",
        schema::<v1::Review>,
        schema::<v1::Incident>,
        || post(incidents::review),
    ),
    write("/v1/actions/{id}/done", Action::Finish, "A corrective action was done", schema::<v1::Reason>, schema::<openapi::Done>, || {
        post(incidents::action_done)
    }),
    read("/v1/notices", "Notices that went to owners, the newest first", PAGED, page::<v1::Notice>, || get(findings::notices)),
    read(
        "/v1/blast",
        "How wide one expiry reaches: the widest of each kind, or all of one kind",
        &["by", "service", "window", "within", "after", "limit"],
        schema::<v1::Blast>,
        || get(reach::blast),
    )
    .long(),
    read(
        "/v1/partition",
        "How production could be divided up; changes nothing",
        &["service", "max_share", "window", "after", "limit"],
        schema::<v1::Partition>,
        || get(reach::plan),
    )
    .long(),
    write(
        "/v1/partition/apply",
        Action::Divide,
        "Put a plan that was looked at in place: an intent for each certificate",
        schema::<v1::ApplyPartition>,
        schema::<v1::AppliedPartition>,
        || post(reach::apply),
    )
    .long(),
    read("/v1/intents", "What was decided and is to be done, the newest first", &["state", "after", "limit"], page::<v1::Intent>, || {
        get(reach::intents)
    }),
    read("/v1/intents/{id}", "An intent with all that it asks for", &[], schema::<v1::IntentDetail>, || get(reach::intent)),
    write("/v1/fleet", Action::Apply, "Put an inventory in place", openapi::apply, schema::<v1::Applied>, || post(fleet::apply))
        .brings(Brings::Fleet)
        .long(),
    Route {
        time: Time::Stream,
        ..write("/v1/bulk", Action::Bulk, "Store many certificates: NDJSON", schema::<v1::BulkImport>, schema::<v1::Bulk>, || {
            post(bulk::import)
        })
        .brings(Brings::Lines)
    },
    read("/v1/rollouts", "Versions on their way, the newest first", &["open", "after", "limit"], page::<v1::Rollout>, || {
        get(rollouts::list)
    }),
    read("/v1/rollouts/{id}", "A rollout, wave by wave, with what it waits for", &[], schema::<v1::RolloutDetail>, || get(rollouts::show)),
    write(
        "/v1/secrets/{name}/rollouts",
        Action::Rollout,
        "Bring a version to its targets; the same again is the rollout that does",
        schema::<v1::StartRollout>,
        schema::<v1::RolloutDetail>,
        || post(rollouts::start),
    ),
    write(
        "/v1/secrets/{name}/rollouts/critical",
        Action::Emergency,
        "The same in an emergency: shorter soaks, wider waves",
        schema::<v1::StartRollout>,
        schema::<v1::RolloutDetail>,
        || post(rollouts::critical),
    ),
    write("/v1/rollouts/{id}/halt", Action::Rollout, "Send nothing more out", schema::<v1::Reason>, schema::<v1::RolloutDetail>, || {
        post(rollouts::halt)
    }),
    write(
        "/v1/rollouts/{id}/resume",
        Action::Rollout,
        "Let it go on, past what stopped it",
        schema::<v1::ResumeRollout>,
        schema::<v1::RolloutDetail>,
        || post(rollouts::resume),
    ),
    write(
        "/v1/rollouts/{id}/rollback",
        Action::Rollout,
        "Take it back; answers with the rollout that does",
        schema::<v1::Reason>,
        schema::<v1::RolloutDetail>,
        || post(rollouts::rollback),
    ),
    read("/v1/revocations", "What must be replaced by a deadline, the newest first", PAGED, page::<v1::Revocation>, || {
        get(rollouts::revocations)
    }),
    write(
        "/v1/revocations",
        Action::Emergency,
        "Say that certificates must be replaced by a deadline",
        schema::<v1::NewRevocation>,
        schema::<v1::RevocationDetail>,
        || post(rollouts::open),
    ),
    read("/v1/revocations/{id}", "One of these, with what became of each secret", &[], schema::<v1::RevocationDetail>, || {
        get(rollouts::revocation)
    }),
    read("/v1/revocations/{id}/secrets", "All of its secrets, in the order of risk", PAGED, page::<v1::RevokedSecret>, || {
        get(rollouts::revoked_secrets)
    }),
    write(
        "/v1/revocations/{id}/withdraw",
        Action::Emergency,
        "Withdraw one that was a mistake",
        schema::<v1::Reason>,
        schema::<v1::RevocationDetail>,
        || post(rollouts::withdraw),
    ),
    read("/v1/expiring", "Stored certificates that end soon", &["within", "after", "limit"], page::<v1::Ending>, || {
        get(findings::expiring)
    }),
    read("/v1/expiring/weeks", "How many end per region and week", &["within"], list::<v1::WeekCount>, || get(findings::weeks)),
    Route {
        takes: None,
        ..write("/v1/sweep", Action::Sweep, "Sweep over everything now", schema::<openapi::Done>, schema::<v1::Sweep>, || {
            post(upkeep::sweep)
        })
        .long()
    },
    read("/v1/sweeps", "Sweeps, the newest first", &[], list::<v1::Sweep>, || get(upkeep::sweeps)),
    read("/v1/audit", "The journal, in its order", PAGED, page::<v1::AuditEntry>, || get(upkeep::audit)).needs(Action::Audit),
    read(
        "/v1/audit/verify",
        "Verify the journal, against a head noted elsewhere where given",
        &["head"],
        schema::<v1::AuditReport>,
        || get(upkeep::verify),
    )
    .needs(Action::Audit)
    .long(),
    read("/v1/tokens", "Tokens; their values are nowhere", &[], list::<v1::Token>, || get(tokens::list)).needs(Action::Tokens),
    write("/v1/tokens", Action::Tokens, "Make a token; its value is shown once", schema::<v1::NewToken>, schema::<v1::MadeToken>, || {
        post(tokens::create)
    }),
    Route {
        method: "DELETE",
        ..read("/v1/tokens/{id}", "Take a token back", &[], schema::<openapi::Done>, || delete(tokens::revoke)).needs(Action::Tokens)
    },
    Route {
        access: Access::Public,
        ..write(
            "/v1/unseal",
            Action::Seal,
            "Open the store; `init` needs an admin's token",
            schema::<v1::Unseal>,
            schema::<v1::Status>,
            || post(keys::unseal),
        )
        .brings(Brings::Unseal)
    },
    Route {
        takes: None,
        ..write("/v1/seal", Action::Seal, "Forget the key", schema::<openapi::Done>, schema::<v1::Status>, || post(keys::seal))
    },
    write(
        "/v1/kek/rotate",
        Action::Rotate,
        "Put everything under a new key, opened by a new passphrase or key file",
        schema::<v1::Rotate>,
        schema::<openapi::Moved>,
        || post(keys::rotate),
    )
    .brings(Brings::Unseal)
    .long(),
    read("/v1/issuers", "Who signs, and how each has answered lately", &[], list::<v1::IssuerStanding>, || get(issuing::issuers)),
    read("/v1/issuers/{name}/authorities", "The certificates of an internal CA, the newest first", &[], list::<v1::CaCertificate>, || {
        get(issuing::authorities)
    }),
    write(
        "/v1/issuers/{name}/authorities",
        Action::Certify,
        "Make the key of an issuing CA and its request, or drop the one that waits",
        schema::<v1::NewCa>,
        schema::<v1::RequestedCa>,
        || post(issuing::request_ca),
    ),
    write(
        "/v1/issuers/{name}/answer",
        Action::Certify,
        "Bring what the root signed: the CA signs from then on",
        schema::<v1::CaAnswer>,
        schema::<v1::CaCertificate>,
        || post(issuing::answer_ca),
    )
    .brings(Brings::Import),
    read("/v1/secrets/{name}/requests", "Requests that people carry to a CA, the newest first", &[], list::<v1::CertRequest>, || {
        get(issuing::requests)
    }),
    write(
        "/v1/secrets/{name}/requests",
        Action::Renew,
        "Make a key and a request for it; the key stays in the store",
        schema::<v1::NewCertRequest>,
        schema::<v1::CertRequest>,
        || post(issuing::request),
    ),
    write(
        "/v1/secrets/{name}/answer",
        Action::Renew,
        "Bring a CA's answer to a request that waits: it becomes a version",
        schema::<v1::CertAnswer>,
        schema::<v1::Stored>,
        || post(issuing::answer),
    )
    .brings(Brings::Import),
    write(
        "/v1/secrets/{name}/requests/{id}/drop",
        Action::Renew,
        "Drop a request that waits, and its key",
        schema::<v1::Reason>,
        schema::<openapi::Done>,
        || post(issuing::drop_request),
    ),
    write(
        "/v1/secrets/{name}/renew",
        Action::Renew,
        "Have a certificate renewed now",
        schema::<v1::Reason>,
        schema::<v1::Renewing>,
        || post(issuing::renew),
    ),
    write(
        "/v1/secrets/{name}/revoke",
        Action::Revoke,
        "Revoke what the store's own CAs signed for a version",
        schema::<v1::Revoke>,
        schema::<v1::Revoked>,
        || post(issuing::revoke),
    ),
    open("/v1/crl/{name}", Access::Public, "What an issuer's CA has revoked (DER)", Gives::Crl, || get(issuing::crl)),
    open("/v1/crl/{name}/{id}", Access::Public, "What one authority of an issuer has revoked (DER)", Gives::Crl, || get(issuing::crl_of)),
    write("/v1/clock/confirm", Action::Clock, "Say that the clock is right", schema::<v1::Reason>, schema::<v1::Status>, || {
        post(status::confirm_clock)
    }),
    read("/v1/vantage/work", "Targets that this vantage is to look at", &["limit"], schema::<v1::Work>, || get(observations::work))
        .needs(Action::Work),
    write("/v1/observations", Action::Report, "Say what was seen at a target", schema::<v1::Report>, schema::<openapi::Done>, || {
        post(observations::report)
    })
    .brings(Brings::Report),
    write("/v1/backup", Action::Backup, "Copy the database", schema::<openapi::Backup>, schema::<openapi::BackedUp>, || {
        post(upkeep::backup)
    })
    .long(),
    open("/v1/openapi.json", Access::Public, "This description", Gives::Description, || get(openapi::serve)),
    open("/healthz", Access::Public, "Whether the process answers", Gives::Text, || get(status::healthy)),
    open("/readyz", Access::Public, "Whether the database answers", Gives::Text, || get(status::ready)),
    open("/metrics", Access::Metrics, "Metrics for Prometheus", Gives::Text, || get(status::metrics)),
];

/// The routes, each behind its gate.
pub(crate) fn all(shared: &Shared) -> Router<Shared> {
    ROUTES.iter().fold(Router::new(), |router, route| {
        let gated = (route.on)().route_layer(from_fn_with_state((shared.clone(), route), gate));
        router.route(route.path, gated)
    })
}
