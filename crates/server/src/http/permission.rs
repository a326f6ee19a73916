//! The one permission step. Deny by default; whoever goes on carries the proof.
//!
//! [`decide`] is pure: principal × action × resource × context. [`Permitted`] can only be made here, and everything that a request
//! does takes its actor from it.

use axum::http::StatusCode;
use domain::{Time, words::Method};
use store::Actor;

use super::problem::Problem;

/// What a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads everything; private material is nothing that can be read.
    Viewer,
    /// Reads everything, and acts on what belongs to its teams.
    Owner,
    /// Does everything that a person may do.
    Admin,
    /// Takes the work of its own vantage, and reports what it saw from there.
    Vantage,
    /// Registers what builds of its own services carry.
    Build,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Role::Viewer, Role::Owner, Role::Admin, Role::Vantage, Role::Build];

    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Vantage => "vantage",
            Role::Build => "build",
        }
    }

    /// From what people write.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

/// Who asks, as its credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who vouches for the subject: `token`.
    pub issuer: String,
    /// Who it is, within the issuer.
    pub subject: String,
    /// What it is.
    pub role: Role,
    /// The teams of an owner.
    pub teams: Vec<String>,
    /// The vantage that it speaks for.
    pub vantage: Option<String>,
    /// The services whose builds it speaks for.
    pub services: Vec<String>,
    /// When its credential ends; exclusive.
    pub until: Option<Time>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lists, details and counts: everything that holds no private material, but the journal and the tokens.
    Read,
    /// A new version of a secret.
    Store,
    /// Saying that production uses a version.
    Attest,
    /// Looking at a target at once.
    Look,
    /// Taking a target or a secret out of the inventory.
    Retire,
    /// Acknowledging or mitigating an incident.
    Handle,
    /// Writing down why an incident happened.
    Review,
    /// Finishing a corrective action.
    Finish,
    /// Putting an inventory in place.
    Apply,
    /// Storing many versions at once.
    Bulk,
    /// Sweeping now.
    Sweep,
    /// Reading and verifying the journal.
    Audit,
    /// Listing, making and taking back tokens.
    Tokens,
    /// Forgetting the key, and making the first one.
    Seal,
    /// Putting everything under a new key.
    Rotate,
    /// Saying that the clock is right.
    Clock,
    /// Copying the database.
    Backup,
    /// Taking the work of a vantage.
    Work,
    /// Saying what was seen.
    Report,
    /// Deciding when builds of a service ship, and how its certificates are divided up.
    Plan,
    /// Registering what a build carries.
    Carry,
    /// Putting a plan that divides production up in place.
    Divide,
    /// Giving and taking back the right to speak for a node, and carrying its manifest by hand.
    Nodes,
    /// Having a certificate renewed, or carrying a request to a CA and its answer back.
    Renew,
    /// Taking a certificate back.
    Revoke,
    /// Making and renewing the store's own CAs.
    Certify,
    /// Starting, halting, resuming or taking back a rollout.
    Rollout,
    /// An emergency: a critical rollout, or what must be replaced by a deadline.
    Emergency,
    /// Rehearsing an emergency, and ending a rehearsal.
    Drill,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 29] = [
        Action::Read,
        Action::Store,
        Action::Attest,
        Action::Look,
        Action::Retire,
        Action::Handle,
        Action::Review,
        Action::Finish,
        Action::Apply,
        Action::Bulk,
        Action::Sweep,
        Action::Audit,
        Action::Tokens,
        Action::Seal,
        Action::Rotate,
        Action::Clock,
        Action::Backup,
        Action::Work,
        Action::Report,
        Action::Plan,
        Action::Carry,
        Action::Divide,
        Action::Nodes,
        Action::Renew,
        Action::Revoke,
        Action::Certify,
        Action::Rollout,
        Action::Emergency,
        Action::Drill,
    ];
}

impl Action {
    /// What it is, behind "cannot".
    const fn words(self) -> &'static str {
        match self {
            Action::Read => "read this",
            Action::Store => "store a version",
            Action::Attest => "attest what production uses",
            Action::Look => "have a target looked at",
            Action::Retire => "retire a target or a secret",
            Action::Handle => "acknowledge or mitigate an incident",
            Action::Review => "review an incident",
            Action::Finish => "finish a corrective action",
            Action::Apply => "apply an inventory",
            Action::Bulk => "import in bulk",
            Action::Sweep => "sweep",
            Action::Audit => "read the journal",
            Action::Tokens => "see, make or take back tokens",
            Action::Seal => "seal the store",
            Action::Rotate => "rotate the key",
            Action::Clock => "confirm the clock",
            Action::Backup => "copy the store",
            Action::Work => "take the work of a vantage",
            Action::Report => "report what was seen",
            Action::Plan => "plan for a service",
            Action::Carry => "register what a build carries",
            Action::Divide => "put a partition plan in place",
            Action::Nodes => "let a node join, or revoke one",
            Action::Renew => "renew a certificate",
            Action::Revoke => "revoke a certificate",
            Action::Certify => "make or renew a CA",
            Action::Rollout => "start, halt, resume or take back a rollout",
            Action::Emergency => "start or end an emergency",
            Action::Drill => "run or end a drill",
        }
    }
}

/// On what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The store as a whole.
    Store,
    /// Something that belongs to teams; to nobody if there is none.
    Owned {
        /// Its owners.
        teams: Vec<String>,
    },
    /// Something that several teams have in common, and what is done is done for all of them.
    Shared {
        /// All that it concerns.
        teams: Vec<String>,
    },
    /// A service: its releases, and what is planned for it.
    Service {
        /// Its name.
        name: String,
        /// Its owners.
        teams: Vec<String>,
    },
    /// A target as somebody saw it.
    Seen {
        /// Its owners.
        teams: Vec<String>,
        /// How it was seen.
        method: Method,
        /// The vantages that look at it.
        vantages: Vec<String>,
    },
}

/// What else counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Now.
    pub now: Time,
}

/// What a role may do with an action, before the resource is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Never,
    Always,
    /// Where one of its teams owns the resource.
    OwnTeams,
    /// In the name of its own vantage.
    OwnVantage,
    /// For the builds of its own services.
    OwnServices,
}

/// The whole table; what is not named is denied.
pub(crate) fn rule(role: Role, action: Action) -> Rule {
    use Action as A;
    match (role, action) {
        (Role::Viewer | Role::Owner | Role::Admin, A::Read) => Rule::Always,
        (
            Role::Owner,
            A::Store
            | A::Attest
            | A::Look
            | A::Retire
            | A::Handle
            | A::Review
            | A::Finish
            | A::Report
            | A::Plan
            | A::Carry
            | A::Renew
            | A::Revoke
            | A::Rollout
            | A::Emergency,
        ) => Rule::OwnTeams,
        (
            Role::Admin,
            A::Store
            | A::Attest
            | A::Look
            | A::Retire
            | A::Handle
            | A::Review
            | A::Finish
            | A::Apply
            | A::Bulk
            | A::Sweep
            | A::Audit
            | A::Tokens
            | A::Seal
            | A::Rotate
            | A::Clock
            | A::Backup
            | A::Report
            | A::Plan
            | A::Carry
            | A::Divide
            | A::Nodes
            | A::Renew
            | A::Revoke
            | A::Certify
            | A::Rollout
            | A::Emergency
            | A::Drill,
        ) => Rule::Always,
        (Role::Vantage, A::Work | A::Report) => Rule::OwnVantage,
        (Role::Build, A::Carry) => Rule::OwnServices,
        _ => Rule::Never,
    }
}

/// Why not, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The credential has ended.
    Ended,
    /// The role never may.
    Role,
    /// None of its teams owns it.
    NotOwner(Vec<String>),
    /// It concerns other teams besides its own; all of them.
    OthersToo(Vec<String>),
    /// Its vantage does not look at it.
    OtherVantage,
    /// It does not speak for the builds of this service.
    OtherService(String),
    /// What a vantage dials is a vantage's to say, and the rest is not.
    Method(Method),
}

/// Whether the principal may. Pure.
pub(crate) fn decide(who: &Principal, action: Action, on: &Resource, context: &Context) -> Result<(), Denied> {
    if who.until.is_some_and(|until| context.now >= until) {
        return Err(Denied::Ended);
    }
    let owns = |teams: &[String]| {
        let own = teams.iter().any(|t| !t.is_empty() && who.teams.contains(t));
        own.then_some(()).ok_or_else(|| Denied::NotOwner(teams.to_vec()))
    };
    match (rule(who.role, action), on) {
        (Rule::Never, _) => Err(Denied::Role),
        (Rule::Always, Resource::Store | Resource::Owned { .. } | Resource::Shared { .. } | Resource::Service { .. }) => Ok(()),
        (Rule::OwnTeams, Resource::Owned { teams } | Resource::Service { teams, .. }) => owns(teams),
        (Rule::OwnTeams, Resource::Shared { teams }) => {
            owns(teams)?;
            let all = teams.iter().all(|t| who.teams.contains(t));
            all.then_some(()).ok_or_else(|| Denied::OthersToo(teams.clone()))
        }
        // Only a vantage has dialled: nobody else may close an incident by saying so.
        (Rule::Always | Rule::OwnTeams, Resource::Seen { method: Method::Dialled, .. }) => Err(Denied::Method(Method::Dialled)),
        (Rule::Always, Resource::Seen { .. }) => Ok(()),
        (Rule::OwnTeams, Resource::Seen { teams, .. }) => owns(teams),
        (Rule::OwnVantage, Resource::Store) if action == Action::Work => who.vantage.as_ref().map(|_| ()).ok_or(Denied::OtherVantage),
        (Rule::OwnVantage, Resource::Seen { method: Method::Dialled, vantages, .. }) => {
            let own = who.vantage.as_ref().is_some_and(|v| vantages.contains(v));
            own.then_some(()).ok_or(Denied::OtherVantage)
        }
        (Rule::OwnVantage, Resource::Seen { method, .. }) => Err(Denied::Method(*method)),
        (Rule::OwnServices, Resource::Service { name, .. }) => {
            let own = !name.is_empty() && who.services.contains(name);
            own.then_some(()).ok_or_else(|| Denied::OtherService(name.clone()))
        }
        (Rule::OwnTeams, Resource::Store) | (Rule::OwnVantage | Rule::OwnServices, _) => Err(Denied::Role),
    }
}

/// The proof that somebody may do something. There is no other way to get an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    who: Principal,
    action: Action,
}

impl Permitted {
    /// In whose name it is done.
    pub fn actor(&self) -> Actor {
        Actor::new(&self.who.issuer, &self.who.subject)
    }

    /// What was permitted.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The teams that it acts for; None for all.
    pub fn acts_for(&self) -> Option<&[String]> {
        (self.who.role != Role::Admin).then_some(&self.who.teams)
    }

    /// The vantage that it speaks for.
    pub fn vantage(&self) -> Option<&str> {
        self.who.vantage.as_deref()
    }
}

/// The permission step.
///
/// # Errors
/// 401 for a credential that has ended, else 403 with what would be needed.
pub fn authorise(who: &Principal, action: Action, on: &Resource, context: &Context) -> Result<Permitted, Problem> {
    match decide(who, action, on, context) {
        Ok(()) => Ok(Permitted { who: who.clone(), action }),
        Err(Denied::Ended) => Err(Problem::unauthenticated()),
        Err(denied) => Err(forbidden(who, action, &denied)),
    }
}

/// Before anything of the request's body is read: whether the role may at all.
pub(crate) fn at_all(who: &Principal, action: Action) -> Result<(), Problem> {
    if rule(who.role, action) == Rule::Never { Err(forbidden(who, action, &Denied::Role)) } else { Ok(()) }
}

fn forbidden(who: &Principal, action: Action, denied: &Denied) -> Problem {
    let teams = |teams: &[String]| teams.iter().map(|t| pki::text::escape(t)).collect::<Vec<_>>().join(", ");
    let detail = match denied {
        Denied::NotOwner(owners) if owners.iter().all(String::is_empty) => {
            String::from("it belongs to no team; an admin can do this, or declare its owner in the inventory")
        }
        Denied::NotOwner(owners) => format!("it belongs to {}; this token acts for {}", teams(owners), teams(&who.teams)),
        Denied::OthersToo(all) => format!(
            "it concerns {}, and this is said for all of them; this token acts for {}. An admin can do it, and an acknowledgement quiets \
             your own team",
            teams(all),
            teams(&who.teams)
        ),
        Denied::OtherVantage => String::from("a vantage speaks for itself alone, and this target is not looked at from there"),
        Denied::OtherService(name) => format!(
            "this token speaks for builds of {} alone, not of {}",
            who.services.iter().map(|s| pki::text::escape(s)).collect::<Vec<_>>().join(", "),
            pki::text::escape(name)
        ),
        Denied::Method(method) => format!("a token of role {} cannot report what was {method}", who.role.as_str()),
        Denied::Role | Denied::Ended => {
            let may: Vec<&str> = Role::ALL.into_iter().filter(|r| rule(*r, action) != Rule::Never).map(Role::as_str).collect();
            format!("a token of role {} cannot {}; one of role {} can", who.role.as_str(), action.words(), may.join(" or "))
        }
    };
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_may() {
        let viewer = Principal {
            issuer: "token".into(),
            subject: "1".into(),
            role: Role::Viewer,
            teams: Vec::new(),
            vantage: None,
            services: Vec::new(),
            until: None,
        };
        let said = |action| at_all(&viewer, action).unwrap_err().detail;
        assert_eq!(said(Action::Sweep), "a token of role viewer cannot sweep; one of role admin can");
        assert_eq!(said(Action::Retire), "a token of role viewer cannot retire a target or a secret; one of role owner or admin can");
        for action in Action::ALL.into_iter().filter(|a| *a != Action::Read) {
            assert!(said(action).ends_with(" can"), "{}", said(action));
        }
    }

    const NOW: Context = Context { now: Time::from_unix(1000) };

    fn who(role: Role) -> Principal {
        Principal {
            issuer: "token".into(),
            subject: "a".into(),
            role,
            teams: if role == Role::Owner { vec!["storage".into()] } else { Vec::new() },
            vantage: (role == Role::Vantage).then(|| "office".into()),
            services: if role == Role::Build { vec!["shop".into()] } else { Vec::new() },
            until: None,
        }
    }

    fn owned(team: &str) -> Resource {
        Resource::Owned { teams: vec![team.into()] }
    }

    fn seen(method: Method, team: &str, vantage: &str) -> Resource {
        Resource::Seen { teams: vec![team.into()], method, vantages: vec!["local".into(), vantage.into()] }
    }

    fn service(name: &str, team: &str) -> Resource {
        Resource::Service { name: name.into(), teams: vec![team.into()] }
    }

    /// Every role × action × kind of resource: `.` denied, `y` permitted. Columns: store, own team's, another team's, nobody's; the service
    /// that builds speak for where it is another team's, another service of the own team.
    #[test]
    fn the_whole_matrix() {
        let expected = "
            Read    viewer yyyyyy owner yyyyyy admin yyyyyy vantage ...... build ......
            Store   viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Attest  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Look    viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Retire  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Handle  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Review  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Finish  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Apply   viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Bulk    viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Sweep   viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Audit   viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Tokens  viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Seal    viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Rotate  viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Clock   viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Backup  viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Work    viewer ...... owner ...... admin ...... vantage y..... build ......
            Report  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Plan    viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Carry   viewer ...... owner .y...y admin yyyyyy vantage ...... build ....y.
            Divide  viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Nodes   viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Renew   viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Revoke  viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Certify viewer ...... owner ...... admin yyyyyy vantage ...... build ......
            Rollout viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Emergency viewer ...... owner .y...y admin yyyyyy vantage ...... build ......
            Drill   viewer ...... owner ...... admin yyyyyy vantage ...... build ......";
        let resources = [Resource::Store, owned("storage"), owned("web"), owned(""), service("shop", "web"), service("blob", "storage")];
        let mut got = String::new();
        for action in Action::ALL {
            got += &format!("\n            {:<7}", format!("{action:?}"));
            for role in Role::ALL {
                let row = resources.iter().map(|on| if decide(&who(role), action, on, &NOW).is_ok() { 'y' } else { '.' });
                got += &format!(" {} {}", role.as_str(), row.collect::<String>());
            }
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn who_may_say_what_was_seen() {
        let cases = [
            (Role::Vantage, seen(Method::Dialled, "web", "office"), true),
            (Role::Vantage, seen(Method::Dialled, "web", "moon"), false),
            (Role::Vantage, seen(Method::Attested, "web", "office"), false),
            (Role::Vantage, seen(Method::AgentRead, "web", "office"), false),
            (Role::Owner, seen(Method::Attested, "storage", "office"), true),
            (Role::Owner, seen(Method::Attested, "web", "office"), false),
            (Role::Owner, seen(Method::Dialled, "storage", "office"), false),
            (Role::Admin, seen(Method::Attested, "web", "office"), true),
            (Role::Admin, seen(Method::PeerSeen, "", "office"), true),
            (Role::Admin, seen(Method::Dialled, "web", "office"), false),
            (Role::Viewer, seen(Method::Attested, "web", "office"), false),
        ];
        for (role, on, expected) in cases {
            assert_eq!(decide(&who(role), Action::Report, &on, &NOW).is_ok(), expected, "{role:?} {on:?}");
        }
    }

    #[test]
    fn what_is_said_for_several_teams_is_said_by_somebody_who_acts_for_all() {
        let two = who(Role::Owner);
        let two = Principal { teams: vec!["storage".into(), "web".into()], ..two };
        for (teams, one_may, two_may) in [
            (&["storage"][..], true, true),
            (&["storage", "web"], false, true),
            (&["storage", "web", "mail"], false, false),
            (&["mail"], false, false),
            (&[], false, false),
        ] {
            let on = Resource::Shared { teams: teams.iter().map(|t| (*t).to_owned()).collect() };
            for (who, expected) in [(&who(Role::Owner), one_may), (&two, two_may), (&who(Role::Admin), true), (&who(Role::Viewer), false)] {
                assert_eq!(decide(who, Action::Handle, &on, &NOW).is_ok(), expected, "{:?} {teams:?}", who.teams);
            }
        }
    }

    #[test]
    fn a_credential_ends_at_its_second() {
        for (until, expected) in [(999, false), (1000, false), (1001, true)] {
            let who = Principal { until: Some(Time::from_unix(until)), ..who(Role::Admin) };
            assert_eq!(decide(&who, Action::Read, &Resource::Store, &NOW).is_ok(), expected, "{until}");
        }
    }

    #[test]
    fn an_owner_without_teams_a_vantage_without_name_and_a_build_without_service_may_nothing() {
        let nobody = Principal { teams: vec![String::new()], ..who(Role::Owner) };
        assert_eq!(decide(&nobody, Action::Store, &owned(""), &NOW), Err(Denied::NotOwner(vec![String::new()])));
        let nowhere = Principal { vantage: None, ..who(Role::Vantage) };
        let nothing = Principal { services: vec![String::new()], ..who(Role::Build) };
        assert_eq!(decide(&nothing, Action::Carry, &service("", ""), &NOW), Err(Denied::OtherService(String::new())));
        assert_eq!(decide(&nowhere, Action::Work, &Resource::Store, &NOW), Err(Denied::OtherVantage));
        assert_eq!(decide(&nowhere, Action::Report, &seen(Method::Dialled, "", ""), &NOW), Err(Denied::OtherVantage));
    }
}
