//! What the rules say about plans.

use domain::{concern::Concern, finding::Code, policy::Level};
use serde_json::json;
use store::{Actor, model::concern};

use crate::support::World;

#[test]
fn findings_of_plans_are_paged_in_order() {
    let world = World::new();
    let now = world.now();
    for subject in ["release/12", "release/7", "service/storage"] {
        for code in [Code::ALL[0], Code::ALL[1]] {
            let c = Concern {
                code,
                about: String::new(),
                once: false,
                level: Level::Notice,
                teams: vec!["storage".into()],
                until: None,
                detail: format!("something about {subject}"),
                next_step: "do it".into(),
            };
            world.engine.store().write(&Actor::new("test", "rules"), now, |tx| concern::put(tx, subject, &c, now, None, &[])).unwrap();
        }
    }
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get(&world.admin, &format!("/v1/plan/findings?limit=4&after={after}")).good();
        all.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let subjects: Vec<&str> = all.iter().map(|f| f["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["release/12", "release/12", "release/7", "release/7", "service/storage", "service/storage"]);
    assert_eq!((&all[0]["level"], &all[0]["teams"], &all[0]["since"]), (&json!("notice"), &json!(["storage"]), &json!(now.to_string())));
    assert_eq!(world.get(&world.admin, &format!("/v1/findings?after={after}")).code(), (400, "bad-cursor".into()));
    // What it is about stands in the findings of targets too.
    let seen = world.get(&world.admin, "/v1/targets/blob").good();
    assert!(seen["findings"].as_array().unwrap().iter().all(|f| f["subject"] == "target/blob"), "{seen}");
}
