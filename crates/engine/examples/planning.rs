//! A store with very many targets, and what planning costs over it: `bench/planning.sh` calls this, one process for each measurement,
//! so that each has a peak of memory of its own.
//!
//!     planning fill FILE TARGETS CERTIFICATES
//!     planning forecast | groups | blast | effect | queue FILE
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

use domain::{
    Fingerprint, Span, Time,
    blast::{self, By, Path},
    finding::End,
    policy::Thresholds,
    release::{Release, Status},
    target::{Served, Standing},
    words::{Backends, Kind, Management, Offer, ReleaseId, Renewal, SecretId, TargetId, TargetState},
};
use engine::{Engine, Tick, forecast::Ask, loops};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use store::{
    Actor, Store, Tx, Value,
    model::{
        UNKNOWN_MARGIN, inventory, path,
        release::{self, Item, What},
        secret, target,
    },
};

const NOW: Time = Time::from_unix(1_800_000_000);
const REGIONS: i64 = 20;
const STAMPS: i64 = 500;
const SERVICES: i64 = 300;
const INTERMEDIATES: i64 = 12;
const ROOTS: i64 = 3;
const RELEASES: i64 = 50;
/// Secrets of which each release carries the newest version.
const CARRIED: i64 = 200;
/// Rows that are written together.
const CHUNK: i64 = 5_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let store = Store::open(&format!("sqlite:{}", arguments[2]), NOW, || [7; 16]).unwrap();
    let number = |n: usize| arguments[n].parse::<i64>().unwrap();
    match arguments[1].as_str() {
        "fill" => fill(&store, number(3), number(4)),
        "forecast" => forecast(store, false),
        "groups" => forecast(store, true),
        "blast" => reach(&store),
        "effect" => effect(store),
        "queue" => queue(store),
        other => panic!("unknown measurement {other}"),
    }
}

/// The most memory that this process ever held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).map(|l| l.trim().trim_end_matches(" kB").trim().parse::<u64>());
    kib.and_then(Result::ok).unwrap_or(0) / 1024
}

/// Spreads numbers, the same way every time.
fn mix(n: i64) -> i64 {
    ((n as u64).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33) as i64
}

fn fp(kind: u8, n: i64) -> Fingerprint {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(mix(n) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..16].copy_from_slice(&n.to_be_bytes());
    Fingerprint::from_bytes(bytes)
}

fn actor() -> Actor {
    Actor::new("bench", "planning")
}

fn fill(store: &Store, targets: i64, certificates: i64) {
    store
        .write(&actor(), NOW, |tx| {
            inventory::put(tx, inventory::TEAM, "team", vec!["[{\"channel\":\"log\"}]".into(), "".into()])?;
            for n in 0..SERVICES {
                let values: Vec<Value> = vec!["team".into(), "".into(), "".into(), "".into()];
                inventory::put(tx, inventory::SERVICE, &service(n), values)?;
            }
            for n in 0..REGIONS {
                inventory::put(tx, inventory::REGION, &region(n), vec!["[]".into()])?;
            }
            (0..STAMPS).try_for_each(|n| inventory::put(tx, inventory::STAMP, &format!("stamp-{n}"), vec![region(n % REGIONS).into()]))
        })
        .unwrap();
    for from in (0..certificates).step_by(CHUNK as usize) {
        store.write(&actor(), NOW, |tx| (from..(from + CHUNK).min(certificates)).try_for_each(|n| put_secret(tx, n))).unwrap();
    }
    // A tenth of the targets share ten wildcards, half of them share certificates by the score, and the rest have their own.
    for from in (0..targets).step_by(CHUNK as usize) {
        let put = |tx: &mut Tx<'_>, n: i64| put_target(tx, n, whose(n, targets, certificates));
        store.write(&actor(), NOW, |tx| (from..(from + CHUNK).min(targets)).try_for_each(|n| put(tx, n))).unwrap();
    }
    for n in 0..RELEASES {
        store.write(&actor(), NOW, |tx| put_release(tx, n, certificates)).unwrap();
    }
    store.shed().unwrap();
    println!("{}", peak());
}

fn service(n: i64) -> String {
    format!("service-{n}")
}

fn region(n: i64) -> String {
    format!("region-{n}")
}

fn whose(n: i64, targets: i64, certificates: i64) -> i64 {
    match n * 10 / targets {
        0 => mix(n).rem_euclid(10),
        1..=5 => 10 + mix(n).rem_euclid((certificates / 10).max(1)),
        _ => 10 + n.rem_euclid((certificates - 10).max(1)),
    }
}

fn until(certificate: i64) -> Time {
    NOW + Span::seconds(mix(certificate).rem_euclid(Span::days(398).as_secs()))
}

fn put_secret(tx: &mut Tx<'_>, n: i64) -> store::Result<()> {
    let id = tx.next_id("secret")?;
    let s = secret::Secret {
        id: SecretId(id),
        name: format!("secret-{n}"),
        kind: Kind::Certificate,
        management: Management::Managed,
        renewal: if n % 3 == 0 { Renewal::Automatic } else { Renewal::ByHand },
        release_bound: n % 3 == 1,
        team: "team".into(),
        service: service(n % SERVICES),
        policy: String::new(),
        override_notice: None,
        override_incident: None,
        override_reason: String::new(),
        names: Vec::new(),
        issuers: Vec::new(),
        validation: String::new(),
        dns_provider: String::new(),
        expires_at: None,
        declared_at: NOW,
        declared: true,
        completed_unaided: n % 3 == 0,
        newest_version: 2,
        retired_at: None,
        served: Served::Unknown,
        margin_at: UNKNOWN_MARGIN,
        target_count: 0,
        open_findings: 0,
        assessed_at: None,
        owner: "team".into(),
        current: 0,
        required: 0,
    };
    secret::insert(tx, &s)?;
    for version in 1..=2 {
        secret::insert_version(
            tx,
            s.id,
            &secret::Version { number: version, stored_at: NOW, actor: "bench".into(), reason: String::new(), expires_at: None },
        )?;
        let not_after = if version == 1 { until(n) } else { until(n) + Span::days(365) };
        let instance = secret::Instance {
            id: tx.next_id("instance")?,
            secret: s.id,
            version,
            scope: "all".into(),
            key_type: "ecdsa".into(),
            leaf: fp(version as u8, n),
            key: fp(10 + version as u8, n),
            not_before: not_after - Span::days(398),
            not_after,
            subject: format!("CN=secret-{n}"),
            issuer: "CN=Issuing".into(),
            chain: vec![0x30, 0],
        };
        secret::insert_instance(tx, &instance)?;
    }
    Ok(())
}

fn standing(certificate: i64, version: i64, certificate_until: Time) -> Standing {
    let lifetime = Span::days(398);
    let end = End {
        about: fp(version as u8, certificate),
        position: 0,
        until: certificate_until,
        thresholds: Thresholds::for_leaf(lifetime),
        lifetime,
    };
    let issuing = mix(certificate).rem_euclid(INTERMEDIATES);
    let path = Path {
        leaf: end.about,
        leaf_key: fp(10 + version as u8, certificate),
        intermediate: Some(fp(20, issuing)),
        root: Some(fp(30, issuing % ROOTS)),
        leaf_name: format!("CN=secret-{certificate}"),
        issuer_name: format!("CN=Issuing {issuing}"),
        root_name: format!("CN=Root {}", issuing % ROOTS),
        not_before: certificate_until - lifetime,
        not_after: certificate_until,
    };
    Standing {
        served: Served::Until(certificate_until),
        worst: Some(end),
        ends: Some(end),
        current: 0,
        required: 1,
        shows: version,
        settled_since: None,
        evidence: Vec::new(),
        findings: Vec::new(),
        lifetime: Some(lifetime),
        next: None,
        paths: BTreeSet::from([path]),
    }
}

fn put_target(tx: &mut Tx<'_>, n: i64, certificate: i64) -> store::Result<()> {
    let id = TargetId(tx.next_id("target")?);
    let stamp = mix(n).rem_euclid(STAMPS);
    let t = target::Target {
        facts: domain::words::Target {
            id,
            name: format!("target-{n}"),
            declared_at: NOW,
            state: TargetState::Active,
            drained_until: None,
            production: true,
            backends: Backends::Shared,
            server_name: format!("target-{n}.example"),
            region: region(stamp % REGIONS),
            required_vantages: vec!["local".into()],
            offers: vec![Offer::All],
            authority: String::new(),
            names_without_sni: false,
            key_types: Vec::new(),
            required_since: BTreeMap::new(),
            retired: None,
            baseline: None,
        },
        secret: SecretId(certificate + 1),
        kind: "endpoint".into(),
        protocol: "tls".into(),
        host: format!("target-{n}.example"),
        port: 443,
        stamp: format!("stamp-{stamp}"),
        service: String::new(),
        team: String::new(),
        roots: String::new(),
        optional_vantages: Vec::new(),
        check_name: true,
        retired_at: None,
        served: Served::Unknown,
        worst: None,
        current: 0,
        required: 0,
        shows: 0,
        level: domain::policy::Level::Info,
        observed_at: None,
    };
    target::put(tx, &t)?;
    observed(tx, id, &standing(certificate, 1, until(certificate)))
}

fn observed(tx: &mut Tx<'_>, id: TargetId, s: &Standing) -> store::Result<()> {
    let margin = s.worst.map_or(UNKNOWN_MARGIN, |w| (w.until - w.thresholds.incident).unix());
    target::update_standing(tx, id, s, margin, Some(NOW))?;
    path::replace(tx, id, &s.paths).map(|_| ())
}

fn put_release(tx: &mut Tx<'_>, n: i64, certificates: i64) -> store::Result<()> {
    let id = ReleaseId(tx.next_id("release")?);
    let at = NOW + Span::days(n * 7);
    let release = Release {
        id,
        service: service(n % SERVICES),
        build: format!("2027.{n}"),
        train: String::new(),
        place: n,
        status: Status::Planned,
        created_at: NOW,
        earliest_at: NOW,
        planned_at: at,
        first_planned_at: at,
        built_at: None,
        deployed_at: None,
        observed_at: None,
        ended_at: None,
        stages: Vec::new(),
    };
    release::insert(tx, &release)?;
    for c in 0..CARRIED.min(certificates / RELEASES) {
        let item = Item {
            id: tx.next_id("release_item")?,
            release: id,
            what: What::Version,
            // The wildcards with the many targets ride along.
            secret: Some(SecretId(1 + (c * RELEASES + n).rem_euclid(certificates))),
            version: 2,
            leaf: None,
            not_after: None,
            subject: String::new(),
            path: String::new(),
            added_at: NOW,
            observed_at: None,
            waited: true,
        };
        release::insert_item(tx, &item)?;
    }
    store::timer::set_earlier(tx, loops::RELEASE, id.0, NOW)
}

fn engine(store: Store) -> (Engine, Tick) {
    (Engine::new(store, "bench", Vec::new()), Tick::at(NOW))
}

/// The forecast of a year, first page: seconds, peak in MiB, how many targets break.
fn forecast(store: Store, grouped: bool) {
    let (engine, tick) = engine(store);
    let begun = Instant::now();
    let it = engine.forecast(&Ask { grouped, limit: 1000, ..Ask::default() }, &tick).unwrap();
    println!("{:.3} {} {}", begun.elapsed().as_secs_f64(), peak(), it.totals.breaking);
}

/// The blast radius of everything: seconds, peak in MiB, how many groups and windows there are.
fn reach(store: &Store) {
    let begun = Instant::now();
    let snapshot = store.read(|tx| path::snapshot(tx, None)).unwrap();
    let groups: usize = By::ALL.iter().map(|by| blast::groups(&snapshot, *by).after(None).len()).sum();
    let widths = [blast::WINDOW, blast::NARROW_WINDOW];
    let windows: usize = widths.iter().map(|w| blast::windows(&snapshot, *w, NOW, NOW + blast::YEAR).all.len()).sum();
    println!("{:.3} {} {}", begun.elapsed().as_secs_f64(), peak(), groups + windows);
}

/// What one changed standing sets in motion until forecast and queue are right again: median and 95th percentile in ms, of the
/// transactions of target, secret and releases together, each with its commit.
fn effect(store: Store) {
    const ROUNDS: i64 = 400;
    let (engine, tick) = engine(store.clone());
    while engine.releases_once(&tick).unwrap() + engine.secrets_once(&tick).unwrap() > 0 {}
    let targets = store.read(|tx| tx.query_one("SELECT max(id) FROM target", &[])?.int(0)).unwrap();
    let mut spent = Vec::new();
    for round in 0..ROUNDS {
        // Half of them belong to the ten wildcards.
        let last = if round % 2 == 0 { targets / 10 } else { targets };
        let id = TargetId(1 + mix(round).rem_euclid(last));
        let begun = Instant::now();
        store
            .write(&actor(), NOW, |tx| {
                let Some(t) = target::lock(tx, id)? else { return Ok(()) };
                let certificate = t.secret.0 - 1;
                let version = 1 + round / 2 % 2;
                observed(
                    tx,
                    id,
                    &standing(certificate, version, until(certificate) + Span::days(365 * (version - 1)) - Span::seconds(round)),
                )?;
                store::timer::set_earlier(tx, loops::SECRET, t.secret.0, NOW)
            })
            .unwrap();
        while engine.secrets_once(&tick).unwrap() + engine.releases_once(&tick).unwrap() > 0 {}
        spent.push(begun.elapsed().as_micros());
    }
    spent.sort_unstable();
    let at = |part: usize| spent[spent.len() * part / 100] as f64 / 1000.0;
    println!("{:.3} {:.3} {}", at(50), at(95), peak());
}

/// The first page of the queue: median in ms.
fn queue(store: Store) {
    let (engine, tick) = engine(store);
    let mut spent: Vec<u128> = (0..51)
        .map(|_| {
            let begun = Instant::now();
            assert!(!engine.release_queue(None, None, None, 100, &tick).unwrap().is_empty());
            begun.elapsed().as_micros()
        })
        .collect();
    spent.sort_unstable();
    println!("{:.3} {}", spent[spent.len() / 2] as f64 / 1000.0, peak());
}
