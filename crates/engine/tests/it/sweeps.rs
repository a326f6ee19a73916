//! The sweep over targets: what was said, planned and opened, against what the rules say from what is stored.

use crate::world::{Ca, World, person, t};
use domain::Span;
use store::{Value, timer};

fn world() -> World {
    let now = t("2026-03-01T00:00:00Z");
    let mut w = World::new(now);
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z"));
    let target = |name: &str, more: &str| {
        format!("[[target]]\nname = \"{name}\"\nsecret = \"www\"\nroots = \"corp\"\nbackends = \"direct\"\n{more}\n")
    };
    let endpoint = |host: &str| format!("endpoint = \"tls://{host}.corp.example:443\"");
    let toml = format!(
        "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n{}{}{}{}{}",
        ca.roots(),
        target("ends", &endpoint("ends")),
        target("good", &endpoint("good")),
        target("dark", &endpoint("dark")),
        target("spare", &(endpoint("spare") + "\nstate = \"standby\"")),
        target("node", "kind = \"install\""),
    );
    let ending = ca.leaf(&["*.corp.example"], now - Span::days(300), now + Span::days(65));
    let good = ca.leaf(&["*.corp.example"], now - Span::days(30), now + Span::days(335));
    for (n, host) in ["ends", "good", "dark", "spare"].into_iter().enumerate() {
        let address = format!("192.0.2.{n}:443");
        w.net.name(&format!("{host}.corp.example"), &[&address]);
        w.net.serves(&address, if host == "good" { &good.0 } else { &ending.0 });
    }
    w.net.silent("192.0.2.2:443");
    w.apply(&toml);
    w.store("www", &ending.0, &ending.1).unwrap();
    w.store("www", &good.0, &good.1).unwrap();
    w.settle();
    w.run_until(now + Span::days(8), Span::hours(1));
    w
}

fn sql(w: &World, sql: &str, params: &[Value]) {
    let changed = w.engine.store().write(&person(), w.now, |tx| tx.execute(sql, params)).unwrap();
    assert!(changed > 0, "{sql}");
}

/// Sweeps, and gives back what was missed, a sentence each.
fn swept(w: &World) -> Vec<String> {
    let done = w.engine.sweep_once(true, &person(), &w.tick()).unwrap().unwrap();
    let lines: Vec<String> = done.report.lines().map(str::to_owned).collect();
    assert_eq!((done.missed as usize, done.targets), (lines.len(), 5));
    lines
}

#[test]
fn what_the_loops_said_is_what_the_rules_say() {
    let mut w = world();
    assert!(!w.incidents().is_empty());
    assert!(swept(&w).is_empty(), "{:?}", swept(&w));
    // Between two looks too, at odd seconds, and at a retired target.
    w.engine.retire_target("good", "moved", &person(), &w.tick()).unwrap();
    for seconds in [1, 7, 1500, 3001, 86_400] {
        w.run_until(w.now + Span::seconds(seconds), Span::minutes(20));
        assert!(swept(&w).is_empty(), "after {seconds} s: {:?}", swept(&w));
    }
    assert!(swept(&w).is_empty());
}

#[test]
fn each_thing_that_went_missing_is_found_named_and_mended() {
    let mut w = world();
    let id = |w: &World, name: &str| Value::from(w.target(name).facts.id.0);
    let far = Value::from((w.now + Span::days(400)).unix());
    type Harm<'a> = (&'a str, &'a str, &'a str, Vec<Value>, &'a str);
    let harms: Vec<Harm<'_>> = vec![
        ("a finding", "ends", "DELETE FROM finding WHERE target_id = $1", vec![], "end/"),
        ("a level", "ends", "UPDATE finding SET level = 'info' WHERE target_id = $1 AND level = 'incident'", vec![], "was not said"),
        ("a standing", "good", "UPDATE target SET served_kind = 1, served_until = NULL WHERE id = $1", vec![], "until broken was said"),
        ("counts", "good", "UPDATE target SET current = 0 WHERE id = $1", vec![], "1 of 1 are current, and 0 of 1 were said to be"),
        ("the end of patience", "node", "UPDATE finding SET level = 'notice' WHERE target_id = $1", vec![], "never-observed (incident)"),
        (
            "a line",
            "ends",
            "UPDATE incident_line SET closed_at = 1, how = 'observed' WHERE target_id = $1",
            vec![],
            "no incident has a line",
        ),
        ("a timer", "good", "UPDATE timer SET due_at = $2 WHERE loop = 'target' AND subject = $1", vec![far.clone()], "the answer changes"),
        (
            "a look",
            "spare",
            "UPDATE timer SET due_at = $2 WHERE loop = 'observe/local' AND subject = $1",
            vec![far],
            "to look at it from local",
        ),
        ("all looks", "dark", "UPDATE timer SET due_at = NULL WHERE loop = 'observe/local' AND subject = $1", vec![], "nobody was to look"),
    ];
    for (what, target, harm, more, expected) in harms {
        let params: Vec<Value> = std::iter::once(id(&w, target)).chain(more).collect();
        sql(&w, harm, &params);
        let missed = swept(&w);
        assert!(missed.iter().any(|m| m.contains(expected)), "{what}: {missed:?}");
        let concerned = [format!("target {target}: "), "secret www: ".to_owned(), "incident ".to_owned()];
        assert!(missed.iter().all(|m| concerned.iter().any(|c| m.starts_with(c))), "{what}: {missed:?}");
        // What is found is woken, and being awake is no longer missing.
        assert!(swept(&w).is_empty(), "{what}: {:?}", swept(&w));
        w.now = w.now + Span::seconds(1);
        w.settle();
        assert!(swept(&w).is_empty(), "{what}, mended: {:?}", swept(&w));
    }
    assert!(w.findings("ends").iter().any(|f| f == "leaf-expiring (incident)"), "{:?}", w.findings("ends"));
}

#[test]
fn counts_that_are_wrong_are_counted_again() {
    let w = world();
    let secret = Value::from(w.target("ends").secret.0);
    for (harm, params, expected) in [
        ("UPDATE target_tally SET n = n + 1 WHERE secret_id = $1", vec![secret.clone()], "secret www: "),
        ("DELETE FROM finding_tally WHERE secret_id = $1", vec![secret], "secret www: "),
        ("UPDATE incident_line_tally SET n = n + 1", vec![], "incident "),
        ("UPDATE counter SET n = n - 1 WHERE name = 'stands/target'", vec![], "the store: "),
    ] {
        sql(&w, harm, &params);
        let missed = swept(&w);
        assert!(!missed.is_empty() && missed.iter().all(|m| m.starts_with(expected)), "{harm}: {missed:?}");
        assert!(swept(&w).is_empty(), "{harm}");
    }
}

#[test]
fn an_install_whose_time_nobody_was_to_notice() {
    let mut w = world();
    let node = w.target("node").facts.id.0;
    // It is read once, and from then on only time changes what is known of it.
    let chain = w.observations("good")[0].good.unwrap().chain;
    let der = w.engine.store().read(|tx| store::model::observation::chain(tx, &chain)).unwrap().unwrap();
    let shown = engine::ports::Shown { chain: engine::judge::split_der(&der), protocol: String::new(), cipher: String::new() };
    let attempt = engine::ports::Attempt {
        address: "/etc/tls/www.pem".into(),
        offer: domain::words::Offer::All,
        unnamed: false,
        at: w.now,
        result: Ok(shown),
    };
    let target = w.target("node").facts.id;
    let seen = engine::ports::Seen { target, at: w.now, resolved: Ok(Vec::new()), attempts: vec![attempt] };
    w.engine.take_in("local", &seen, domain::words::Method::AgentRead, None, &person(), &w.tick()).unwrap();
    w.settle();
    assert!(swept(&w).is_empty());
    w.engine.store().write(&person(), w.now, |tx| timer::clear(tx, engine::loops::TARGET, node)).unwrap();
    let missed = swept(&w);
    assert!(missed.len() == 1 && missed[0].starts_with("target node: the answer changes"), "{missed:?}");
    w.settle();
    w.now = w.now + Span::days(10);
    w.settle();
    assert!(w.findings("node").iter().any(|f| f == "not-observed (incident)"), "{:?}", w.findings("node"));
}
