//! What is asked of the tables of the product with more than one row in mind.

use domain::{
    Fingerprint, Span, Time,
    finding::{Code, End, Finding, Subject},
    ladder::Ending,
    policy::{Level, Thresholds},
    secret::{Tally, Targets},
    target::{Served, Standing},
    words::{Backends, IncidentId, Kind, Management, Offer, Renewal, SecretId, TargetId, TargetState},
};
use store::{
    Store, Tx,
    model::{SECRETS, TARGETS, delivery_key, finding, incident, notice, observation, outbox, prune, recount, release, secret, target},
};

use crate::harness::{Database, Lcg, NOW, write};

fn fingerprint(first: u8, last: u8) -> Fingerprint {
    let mut bytes = [first; 32];
    bytes[31] = last;
    Fingerprint::from_bytes(bytes)
}

fn instance(tx: &mut Tx<'_>, secret: i64, leaf: Fingerprint, key: Fingerprint) -> store::Result<()> {
    let id = tx.next_id("instance")?;
    let row = secret::Instance {
        id,
        secret: SecretId(secret),
        version: 1,
        scope: "all".into(),
        key_type: "ecdsa".into(),
        leaf,
        key,
        not_before: NOW,
        not_after: NOW + Span::days(90),
        subject: String::new(),
        issuer: String::new(),
        chain: Vec::new(),
    };
    secret::insert_instance(tx, &row)
}

pub(crate) fn blank(id: i64) -> secret::Secret {
    secret::Secret {
        id: SecretId(id),
        name: format!("s{id}"),
        kind: Kind::Certificate,
        management: Management::Managed,
        renewal: Renewal::ByHand,
        release_bound: false,
        team: String::new(),
        service: String::new(),
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
        declared: false,
        completed_unaided: false,
        newest_version: 1,
        retired_at: None,
        served: Served::Unknown,
        margin_at: 0,
        target_count: 0,
        open_findings: 0,
        current: 0,
        required: 0,
        assessed_at: None,
        owner: String::new(),
    }
}

pub(crate) fn a_target(id: i64, secret: i64) -> target::Target {
    target::Target {
        facts: domain::words::Target {
            id: TargetId(id),
            name: format!("t{id}"),
            declared_at: NOW,
            state: TargetState::Active,
            drained_until: None,
            production: true,
            backends: Backends::Direct,
            server_name: String::new(),
            region: String::new(),
            required_vantages: vec![String::from("local")],
            offers: vec![Offer::All],
            authority: String::new(),
            names_without_sni: false,
            key_types: Vec::new(),
            required_since: std::collections::BTreeMap::new(),
            retired: None,
            baseline: None,
        },
        secret: SecretId(secret),
        kind: "endpoint".into(),
        protocol: "tls".into(),
        host: "host".into(),
        port: 443,
        stamp: String::new(),
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
        level: Level::Info,
        observed_at: None,
    }
}

/// The end of a certificate: whoever serves it says the same of it.
fn one_end(n: u8) -> End {
    let lifetime = Span::days(100 + i64::from(n));
    let (about, until) = (fingerprint(100 + n, n), NOW + Span::days(i64::from(n)));
    End { about, position: 1, until, thresholds: Thresholds::for_leaf(lifetime), lifetime }
}

/// A standing drawn from `chance`; `days` apart, so that there is a worst one.
fn standing(chance: &mut Lcg, secret: i64) -> Standing {
    let until = NOW + Span::days(chance.below(300) as i64);
    let incident = Span::days(chance.below(90) as i64);
    let about = fingerprint(chance.below(3) as u8, 0);
    let codes = [Code::LeafExpiring, Code::Unreachable, Code::WrongName, Code::Untrusted];
    let mut findings = Vec::new();
    for code in codes {
        if chance.below(3) > 0 {
            continue;
        }
        let level = [Level::Info, Level::Notice, Level::Incident][chance.below(3) as usize];
        let subject = if chance.below(2) == 0 { Subject::Secret(SecretId(secret), code) } else { Subject::Served(about, code) };
        findings.push(Finding::new(code, level, subject, format!("sentence {}", chance.below(5))));
    }
    for n in (0..2).filter(|_| chance.below(2) == 0).collect::<Vec<_>>() {
        let level = [Level::Info, Level::Notice, Level::Incident][chance.below(3) as usize];
        let (end, detail) = (one_end(n), format!("sentence {}", chance.below(5)));
        let finding = Finding::new(Code::PathExpiring, level, Subject::Certificate(end.about), detail);
        findings.push(Finding { about: Some(end.about), until: Some(end.until), end: Some(end), ..finding });
    }
    Standing {
        served: [Served::Unknown, Served::Broken, Served::Until(until)][chance.below(3) as usize],
        worst: (chance.below(4) > 0).then_some(End {
            about,
            position: 0,
            until,
            thresholds: Thresholds { notice: incident, incident },
            lifetime: Span::days(90),
        }),
        ends: None,
        current: chance.below(2) as u32,
        required: chance.below(2) as u32,
        shows: (until - NOW).as_secs() / 86_400 % 4,
        settled_since: None,
        evidence: Vec::new(),
        findings,
        lifetime: (chance.below(3) > 0).then_some(Span::days(chance.below(400) as i64)),
        next: None,
        paths: std::collections::BTreeSet::new(),
    }
}

/// The same sums, from all rows.
fn counted_anew(tx: &mut Tx<'_>, secret: i64) -> store::Result<(Targets, bool, (i64, i64))> {
    let rows = tx.query(
        "SELECT id, production, state, served_kind, served_until, worst_until, worst_incident, current, required FROM target \
         WHERE secret_id = $1 AND retired_at IS NULL ORDER BY id",
        &[secret.into()],
    )?;
    let mut targets = target::no_targets();
    let (mut first, mut worst, mut all_current, mut currency) = (None, None, !rows.is_empty(), (0, 0));
    for r in &rows {
        let counts = r.bool(1)? && ["active", "drained"].contains(&r.text(2)?);
        targets.count += 1;
        targets.production += u64::from(counts);
        if counts {
            first = first.into_iter().chain([(r.int(3)?, r.opt_int(4)?)]).min();
        }
        if let Some(until) = r.opt_int(5)? {
            worst = worst.into_iter().chain([(!counts, until - r.int(6)?, r.int(0)?)]).min();
        }
        currency = (currency.0 + r.int(7)?, currency.1 + r.int(8)?);
        all_current &= r.int(8)? > 0 && r.int(7)? == r.int(8)?;
    }
    if let Some((kind, until)) = first {
        targets.served = store::model::served(kind, until);
    }
    if let Some((_, _, id)) = worst {
        targets.worst = target::get(tx, TargetId(id))?.and_then(|t| t.worst);
    }
    let mut all: Vec<finding::FindingRow> = finding::list(tx, Some(SecretId(secret)), None, 10_000)?;
    for end in (0..2).filter(|_| targets.count > 0).map(one_end) {
        let mut ending = Ending { end, targets: 0, active: false };
        for f in all.iter().filter(|f| f.subject == Subject::Certificate(end.about).to_string()) {
            let t = f.target.map(|t| target::get(tx, t)).transpose()?.flatten();
            ending.active |= t.is_some_and(|t| t.facts.state != TargetState::Standby);
            ending.targets += 1;
        }
        targets.ends.extend((ending.targets > 0).then_some(ending));
    }
    all.retain(|f| f.target.is_some() && f.level != Level::Info);
    all.sort_by_key(|f| (f.subject.clone(), f.code.as_str(), f.level.as_str(), f.target, f.key.clone()));
    for f in all {
        match targets.findings.last_mut() {
            Some(t) if (&t.subject, t.code, t.level) == (&f.subject, f.code, f.level) => t.targets += 1,
            _ => targets.findings.push(Tally { subject: f.subject, code: f.code, level: f.level, targets: 1, detail: f.detail }),
        }
    }
    Ok((targets, all_current, currency))
}

/// What is kept as a count, or found by the first entry of an index, is what all rows add up to, whatever happened to them.
pub(crate) fn sums_are_kept(database: &Database) {
    const TARGETS_OF_ALL: i64 = 12;
    let store = database.open();
    let mut chance = Lcg(2013);
    write(&store, |tx| (1..=3).try_for_each(|id| secret::insert(tx, &blank(id))));
    write(&store, |tx| (1..=TARGETS_OF_ALL).try_for_each(|id| target::put(tx, &a_target(id, 1))));
    for round in 0..400 {
        let id = 1 + chance.below(TARGETS_OF_ALL as u64) as i64;
        let what = chance.below(4);
        let drawn = standing(&mut chance, 1);
        let (secret, state, production, retired) = (1 + chance.below(3) as i64, chance.below(4), chance.below(4) > 0, chance.below(4) == 0);
        write(&store, |tx| {
            let mut t = target::lock(tx, TargetId(id))?.unwrap();
            if what > 0 {
                target::update_standing(tx, t.facts.id, &drawn, 0, None)?;
                return finding::replace(tx, t.secret, Some(t.facts.id), &drawn.findings).map(|_| ());
            }
            if t.secret.0 != secret {
                finding::forget_target(tx, t.facts.id)?;
            }
            t.secret = SecretId(secret);
            t.facts.state = [TargetState::Active, TargetState::Standby, TargetState::Drained, TargetState::Retired][state as usize];
            t.facts.production = production;
            t.retired_at = retired.then_some(NOW);
            target::put(tx, &t)
        });
        store
            .read(|tx| {
                for secret in 1..=3 {
                    let (anew, all_current, currency) = counted_anew(tx, secret)?;
                    assert_eq!(target::aggregate(tx, SecretId(secret))?, anew, "round {round}, secret {secret}");
                    assert_eq!(target::all_current(tx, SecretId(secret))?, all_current, "round {round}, secret {secret}");
                    assert_eq!(target::currency(tx, SecretId(secret))?, currency, "round {round}, secret {secret}");
                    for version in 0..4 {
                        let of = "FROM target WHERE secret_id = $1 AND production = 1 AND state IN ('active', 'drained') \
                                  AND retired_at IS NULL AND shows < $2";
                        let rows = tx.query(&format!("SELECT name {of} ORDER BY shows, id"), &[secret.into(), version.into()])?;
                        let names: Vec<String> = rows.iter().take(2).map(|r| Ok(r.text(0)?.into())).collect::<store::Result<_>>()?;
                        let anew = ((rows.len() as i64).min(3), names);
                        assert_eq!(target::not_showing(tx, SecretId(secret), version, 3, 2)?, anew, "round {round}, version {version}");
                    }
                }
                let anew = tx.query_one("SELECT count(*) FROM target WHERE retired_at IS NULL", &[])?.int(0)?;
                assert_eq!((tx.counted(TARGETS)?, tx.counted(SECRETS)?), (anew, 3), "round {round}");
                Ok(())
            })
            .unwrap();
    }
    // Whoever trusts no count finds nothing wrong, and after a harm what is wrong, and mends it.
    let miscounted = || store.read(|tx| recount::miscounted_secrets(tx, SecretId(1), SecretId(3))).unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(miscounted(), []);
    let whole = store.read(|tx| (1..=3).map(|s| counted_anew(tx, s)).collect::<store::Result<Vec<_>>>()).unwrap();
    for harm in [
        "UPDATE target_tally SET production = production + 1 WHERE secret_id = 1",
        "DELETE FROM target_tally WHERE secret_id = 1",
        "UPDATE finding_tally SET n = n + 1 WHERE secret_id = 1",
        "DELETE FROM finding_tally WHERE secret_id = 1",
    ] {
        write(&store, |tx| tx.execute(harm, &[]).map(|n| assert!(n > 0, "{harm}")));
        assert_eq!(miscounted(), [SecretId(1)], "{harm}");
        write(&store, |tx| recount::recount_secret(tx, SecretId(1)));
        assert_eq!(miscounted(), [], "{harm}");
        assert_eq!(store.read(|tx| target::aggregate(tx, SecretId(1))).unwrap(), whole[0].0, "{harm}");
    }
    write(&store, |tx| tx.execute("UPDATE counter SET n = n + 5 WHERE name = $1", &[TARGETS.into()]));
    let there = store.read(|tx| tx.query_one("SELECT count(*) FROM target WHERE retired_at IS NULL", &[])?.int(0)).unwrap();
    let recounted = |wrong| {
        write(&store, |tx| recount::recount_all(tx).map(|was| assert_eq!(was, wrong)));
        assert_eq!(store.read(|tx| tx.counted(TARGETS)).unwrap(), there);
    };
    recounted(true);
    recounted(false);
    let retire = |at: Option<Time>| {
        write(&store, |tx| secret::update_declaration(tx, &secret::Secret { retired_at: at, ..blank(2) }));
        store.read(|tx| tx.counted(SECRETS)).unwrap()
    };
    assert_eq!([retire(Some(NOW)), retire(Some(NOW)), retire(None), retire(None)], [2, 2, 3, 3]);
}

pub(crate) fn lines_are_counted_as_they_open_and_close(database: &Database) {
    let store = database.open();
    let line = |id: i64, closed: Option<&str>, until: i64, broken: bool| {
        let line = incident::Line {
            id,
            incident: IncidentId(1),
            secret: SecretId(1),
            target: Some(TargetId(id)),
            key: "key".into(),
            code: Code::Unreachable,
            about: None,
            until: Some(NOW + Span::seconds(until)),
            broken,
            detail: String::new(),
            opened_at: NOW,
            closed_at: closed.map(|_| NOW),
            how: closed.unwrap_or_default().into(),
            evidence: String::new(),
        };
        write(&store, |tx| incident::put_line(tx, &line));
        let read = |tx: &mut Tx<'_>| Ok((incident::count_lines(tx, IncidentId(1))?, incident::has_open_lines(tx, SecretId(1))?));
        let (c, open) = store.read(read).unwrap();
        assert_eq!(open, c.open > 0);
        (c.open, c.proven, c.retired, c.until.map(|t| (t - NOW).as_secs()), c.broken)
    };
    assert_eq!(line(1, None, 50, false), (1, 0, 0, Some(50), false));
    assert_eq!(line(2, None, 20, true), (2, 0, 0, Some(20), true));
    assert_eq!(line(3, None, 30, false), (3, 0, 0, Some(20), true));
    assert_eq!(line(2, None, 40, true), (3, 0, 0, Some(30), true), "the same line, written again");
    assert_eq!(line(2, Some("observed"), 40, true), (2, 1, 0, Some(30), false));
    assert_eq!(line(3, Some("retired"), 30, false), (1, 1, 1, Some(50), false));
    assert_eq!(line(1, Some("observed"), 50, false), (0, 2, 1, None, false));
    // There is no incident here to sweep over: the counts of its lines alone.
    write(&store, |tx| tx.execute("UPDATE incident_line_tally SET n = 7 WHERE incident_id = 1", &[]));
    write(&store, |tx| recount::recount_incident(tx, IncidentId(1)));
    let counts = store.read(|tx| incident::count_lines(tx, IncidentId(1))).unwrap();
    assert_eq!((counts.open, counts.proven, counts.retired), (0, 2, 1));
}

/// Seconds that one change costs where a secret has `n` targets: the target's standing and findings, a line of its incident, and
/// what secret and incident then add up to.
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn cost_of_a_change(store: &Store, n: i64) -> f64 {
    const CHANGES: i64 = 200;
    let mut chance = Lcg(7);
    let line = |id: i64, until: i64| incident::Line {
        id,
        incident: IncidentId(1),
        secret: SecretId(1),
        target: Some(TargetId(id)),
        key: "key".into(),
        code: Code::Unreachable,
        about: None,
        until: Some(NOW + Span::seconds(until)),
        broken: false,
        detail: String::new(),
        opened_at: NOW,
        closed_at: None,
        how: String::new(),
        evidence: String::new(),
    };
    write(store, |tx| secret::insert(tx, &blank(1)));
    for first in (1..=n).step_by(1000) {
        let drawn: Vec<Standing> = (0..1000).map(|_| standing(&mut chance, 1)).collect();
        write(store, |tx| {
            for (id, drawn) in (first..=n.min(first + 999)).zip(&drawn) {
                target::put(tx, &a_target(id, 1))?;
                target::update_standing(tx, TargetId(id), drawn, 0, None)?;
                finding::replace(tx, SecretId(1), Some(TargetId(id)), &drawn.findings)?;
                incident::put_line(tx, &line(id, id))?;
            }
            Ok(())
        });
    }
    let drawn: Vec<(i64, Standing)> = (0..CHANGES).map(|_| (1 + chance.below(n as u64) as i64, standing(&mut chance, 1))).collect();
    let began = std::time::Instant::now();
    // In one transaction: how long the disk takes for a commit is another matter.
    write(store, |tx| {
        for (id, drawn) in &drawn {
            target::update_standing(tx, TargetId(*id), drawn, 0, None)?;
            finding::replace(tx, SecretId(1), Some(TargetId(*id)), &drawn.findings)?;
            incident::put_line(tx, &line(*id, id + 1))?;
            target::aggregate(tx, SecretId(1))?;
            target::all_current(tx, SecretId(1))?;
            target::currency(tx, SecretId(1))?;
            incident::has_open_lines(tx, SecretId(1))?;
            incident::open_lines_of_secret(tx, SecretId(1))?;
            incident::count_lines(tx, IncidentId(1))?;
            // What a release that carries it needs to know.
            target::not_showing(tx, SecretId(1), 3, 100, 5)?;
            release::wake_carriers(tx, SecretId(1), "release", NOW)?;
        }
        Ok(())
    });
    began.elapsed().as_secs_f64() / CHANGES as f64
}

/// On SQLite alone, where it takes seconds.
#[test]
#[ignore = "a measurement: run it by name, alone, with --ignored"]
fn a_change_costs_no_more_where_there_are_many_targets() {
    const MANY: i64 = 20_000;
    let (one, other) = (Database::sqlite(), Database::sqlite());
    let (few, many) = (cost_of_a_change(&one.open(), 100), cost_of_a_change(&other.open(), MANY));
    // Deeper indexes cost something; looking at all of them would cost a hundred times as much.
    assert!(many < few * 5.0, "{:.0} µs with 100 targets, {:.0} µs with {MANY}", few * 1e6, many * 1e6);
}

/// The index holds the beginning of a fingerprint alone; what only begins alike is not the same.
pub(crate) fn a_fingerprint_is_found_whole(database: &Database) {
    let store = database.open();
    write(&store, |tx| {
        for id in 1..=4 {
            secret::insert(tx, &blank(id))?;
        }
        instance(tx, 1, fingerprint(7, 1), fingerprint(9, 1))?;
        instance(tx, 2, fingerprint(7, 2), fingerprint(9, 1))?;
        instance(tx, 3, fingerprint(7, 1), fingerprint(9, 2))?;
        instance(tx, 4, fingerprint(8, 1), fingerprint(9, 3))
    });
    let read = |leaf| store.read(|tx| secret::known_leaf(tx, &leaf)).unwrap();
    let name = |id: i64| (SecretId(id), format!("s{id}"), 1);
    assert_eq!(read(fingerprint(7, 1)), [name(1), name(3)]);
    assert_eq!(read(fingerprint(7, 2)), [name(2)]);
    assert_eq!(read(fingerprint(7, 3)), []);
    let sharing = store.read(|tx| secret::sharing_between(tx, SecretId(1), SecretId(4))).unwrap();
    assert_eq!(sharing.into_iter().collect::<Vec<_>>(), [SecretId(1), SecretId(2)]);
    assert_eq!(store.read(|tx| secret::sharing_key(tx, SecretId(1), 1)).unwrap(), ["s2"]);
    assert_eq!(store.read(|tx| secret::sharing_key(tx, SecretId(3), 1)).unwrap(), [""; 0]);
}

/// What was told, with and without an end; and what is let go of for its age.
pub(crate) fn what_was_told_and_what_is_old(database: &Database) {
    let store = database.open();
    let secret = SecretId(1);
    let later = NOW + Span::hours(2);
    let row = |id, key: &str, rung, at| notice::Notice {
        id,
        secret,
        key: key.into(),
        code: "unreachable".into(),
        rung,
        again: id == 2,
        team: "web".into(),
        at,
        until: Some(NOW + Span::days(30)),
        detail: String::new(),
        ended_at: None,
    };
    let message = |line: &'static str| outbox::New { line, team: "web", channel: "{}", message: "{}", incident: None };
    write(&store, |tx| {
        notice::insert(tx, &row(1, "a", None, NOW))?;
        // Written later by a clock that had been ahead before.
        notice::insert(tx, &row(2, "a", None, NOW - Span::days(1)))?;
        notice::insert(tx, &row(3, "b", None, NOW))?;
        notice::insert(tx, &row(4, "ladder/0/x", Some(0), NOW))?;
        notice::end(tx, secret, "b", NOW)?;
        notice::end(tx, secret, "ladder/0/x", NOW)?;
        for line in ["s|a", "s|a", "s|b"] {
            outbox::send(tx, &message(line), NOW)?;
        }
        Ok(())
    });
    let told = |now| {
        let all = store.read(|tx| notice::told(tx, secret, now)).unwrap();
        all.into_iter().map(|t| (t.key, t.at, t.stands)).collect::<Vec<_>>()
    };
    let a = ("a".to_owned(), NOW - Span::days(1), true);
    let rung = ("ladder/0/x".to_owned(), NOW, false);
    assert_eq!(told(NOW + Span::minutes(1)), [a.clone(), ("b".to_owned(), NOW, false), rung.clone()]);
    assert_eq!(told(later), [a.clone(), rung], "what has ended is not asked for, except the rung of an end to come");
    assert_eq!(told(NOW + Span::days(30)), [a]);
    assert!(store.read(|tx| notice::was_told(tx, secret, "unreachable", NOW)).unwrap());
    assert!(!store.read(|tx| notice::was_told(tx, secret, "unreachable", later)).unwrap());

    write(&store, |tx| {
        let due = outbox::claim(tx, later, later + Span::minutes(2), 10)?;
        assert_eq!(due.iter().map(|o| o.line.as_str()).collect::<Vec<_>>(), ["s|a", "s|b"], "the first of each line");
        outbox::attempted(tx, &due[0], false, outbox::UNDELIVERABLE, later, "503", later)?;
        outbox::close(tx, due[1].id, outbox::SUPERSEDED, later)?;
        let waiting = outbox::waiting_in_line(tx, "s|a")?;
        assert_eq!(waiting.len(), 1);
        assert!(outbox::was_sent(tx, "s|a", "{}")? && !outbox::was_sent(tx, "s|c", "{}")?);
        let failing = outbox::failing(tx, 8, NOW)?;
        assert_eq!(failing, [outbox::Failing { team: "web".into(), tried: 0, lost: 1 }]);
        Ok(())
    });
    write(&store, |tx| {
        assert_eq!(prune::messages(tx, later, 10)?, 0, "not yet");
        assert_eq!(prune::messages(tx, later + Span::seconds(1), 1)?, 1, "a batch");
        assert_eq!(prune::messages(tx, later + Span::seconds(1), 10)?, 1, "what waits stays");
        assert_eq!(prune::notices(tx, later, 10)?, 2);
        assert_eq!((prune::changes(tx, later, 10)?, prune::lines(tx, later, 10)?, prune::sweeps(tx, later, 10)?), (0, 0, 0));
        let (hash, leaf) = (fingerprint(1, 1), fingerprint(2, 2));
        observation::keep_chain(tx, &hash, &leaf, b"x", NOW)?;
        let page = prune::unused_chains(tx, &[], NOW + Span::days(1), 10)?.unwrap();
        assert_eq!(page.1, [hash]);
        observation::keep_chain(tx, &hash, &leaf, b"x", NOW + Span::days(2))?;
        assert_eq!(prune::chain(tx, &hash, NOW + Span::days(1))?, 0, "it was presented again meanwhile");
        assert_eq!(prune::chain(tx, &hash, NOW + Span::days(3))?, 1);
        Ok(())
    });
    write(&store, |tx| {
        let sealed =
            secret::Sealed { instance: 7, purpose: String::new(), kek: "k".into(), wrapped: b"w".to_vec(), ciphertext: b"c".to_vec() };
        delivery_key::insert_kek(tx, "k", "{}", NOW)?;
        delivery_key::put(tx, secret, 1, &sealed)?;
        delivery_key::put(tx, secret, 2, &sealed)?;
        assert_eq!(delivery_key::get(tx, "k", secret)?, Some((2, sealed)));
        delivery_key::used(tx, "k", later)?;
        assert_eq!(delivery_key::forget_unused(tx, later)?, 0);
        assert_eq!(delivery_key::forget_unused(tx, later + Span::seconds(1))?, 1);
        assert_eq!(delivery_key::kept(tx, "k")?, []);
        Ok(())
    });
}

/// The ends of a secret's targets, each certificate once, with those that wait for it.
pub(crate) fn ends_are_summed_by_certificate(database: &Database) {
    let store = database.open();
    let secret = SecretId(1);
    let end = |n: u8, days: i64, lifetime: i64| End {
        about: fingerprint(n, n),
        position: usize::from(n),
        until: NOW + Span::days(days),
        thresholds: Thresholds::for_leaf(Span::days(lifetime)),
        lifetime: Span::days(lifetime),
    };
    let found = |e: End| {
        let detail = format!("expires {}", e.until);
        let finding = Finding::new(Code::LeafExpiring, Level::Notice, Subject::Certificate(e.about), detail);
        Finding { about: Some(e.about), until: Some(e.until), end: Some(e), ..finding }
    };
    write(&store, |tx| {
        for (id, state) in [(1, TargetState::Active), (2, TargetState::Standby), (3, TargetState::Active)] {
            target::put(tx, &place(id, secret, state, (id == 3).then_some(NOW)))?;
            let mut all = vec![found(end(1, 100, 365))];
            if id == 2 {
                all.push(found(end(2, 20, 90)));
            }
            assert!(finding::replace(tx, secret, Some(TargetId(id)), &all)?);
            assert!(!finding::replace(tx, secret, Some(TargetId(id)), &all)?, "unchanged");
        }
        // Other thresholds change what is told, although neither key nor level do. What left the inventory says nothing of an end.
        let own = End { thresholds: Thresholds { notice: Span::days(120), incident: Span::days(30) }, ..end(1, 100, 365) };
        assert!(finding::replace(tx, secret, Some(TargetId(3)), &[found(own)])?);
        assert!(finding::replace(tx, secret, Some(TargetId(3)), &[])?);
        Ok(())
    });
    let ends = store.read(|tx| target::aggregate(tx, secret)).unwrap().ends;
    assert_eq!(
        ends,
        [Ending { end: end(1, 100, 365), targets: 2, active: true }, Ending { end: end(2, 20, 90), targets: 1, active: false }]
    );
    let serving = store.read(|tx| target::serving(tx, secret, &fingerprint(2, 2), 10)).unwrap();
    assert_eq!(serving.iter().map(|t| t.facts.id).collect::<Vec<_>>(), [TargetId(2)]);
    assert!(!store.read(|tx| target::all_current(tx, secret)).unwrap(), "nothing was required to be");
}

fn place(id: i64, secret: SecretId, state: TargetState, retired_at: Option<Time>) -> target::Target {
    target::Target {
        facts: domain::words::Target {
            id: TargetId(id),
            name: format!("t{id}"),
            declared_at: NOW,
            state,
            drained_until: None,
            production: true,
            backends: Backends::Direct,
            server_name: String::new(),
            region: String::new(),
            required_vantages: Vec::new(),
            offers: Vec::new(),
            baseline: None,
            authority: String::from("h:443"),
            key_types: Vec::new(),
            names_without_sni: false,
            required_since: std::collections::BTreeMap::new(),
            retired: None,
        },
        secret,
        kind: "endpoint".into(),
        protocol: "tls".into(),
        host: "h".into(),
        port: 443,
        stamp: String::new(),
        service: String::new(),
        team: String::new(),
        roots: String::new(),
        optional_vantages: Vec::new(),
        check_name: true,
        retired_at,
        served: Served::Unknown,
        worst: None,
        current: 0,
        required: 0,
        shows: 0,
        level: Level::Info,
        observed_at: None,
    }
}
