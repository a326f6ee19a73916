//! Drills over the API: who may, what is answered, what is refused by name.

use serde_json::json;

use crate::support::World;

const FLEET: &str = "[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n[[service]]\nname = \"shop\"\nteam = \"web\"\n\
    [[region]]\nname = \"eu\"\n[[issuer]]\nname = \"ca\"\nkind = \"internal\"\n\
    [[secret]]\nname = \"www\"\nkind = \"certificate\"\nservice = \"shop\"\nnames = [\"www.example\"]\nissued_by = [\"ca\"]\nkeys = \"store\"\n\
    lifetime = \"90d\"\nrenewal = \"automatic\"\n\
    [[secret]]\nname = \"vendor\"\nkind = \"certificate\"\nservice = \"shop\"\n\
    [[node]]\nname = \"n1\"\nregion = \"eu\"\nsecrets = [\"www\"]\n\
    [[target]]\nname = \"t1\"\nsecret = \"www\"\nendpoint = \"tls://t1.example:443\"\nregion = \"eu\"\nnodes = [\"n1\"]\n\
    [[target]]\nname = \"t2\"\nsecret = \"www\"\nendpoint = \"tls://t2.example:443\"\nregion = \"eu\"\nproduction = false\n\
    [[drill]]\nname = \"monthly\"\nsecret = \"www\"\nevery = \"30d\"\nwithin = \"45m\"\n\
    [[drill]]\nname = \"cable\"\nsecret = \"www\"\nkind = \"region-cut\"\nregion = \"eu\"\nevery = \"90d\"\n";

fn world() -> World {
    let world = World::new();
    let fleet = serde_json::to_value(api::fleet::parse(FLEET).unwrap()).unwrap();
    world.post(&world.admin, "/v1/fleet", &json!({ "fleet": fleet })).good();
    world
}

#[test]
fn a_drill_is_run_shown_and_ended_by_an_admin() {
    let world = world();
    let (owner, viewer) = (world.token("o", "owner", &["web"], None), world.token("v", "viewer", &[], None));
    let ask = json!({ "name": "monthly", "reason": "quarterly" });
    for who in [&owner, &viewer] {
        assert_eq!(world.post(who, "/v1/drills/run", &ask).code(), (403, "forbidden".into()));
    }
    let listed = world.get(&viewer, "/v1/drills").good();
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|d| (d["name"].clone(), d["standing"].clone())).collect();
    assert_eq!(names, [(json!("cable"), json!("never-passed")), (json!("monthly"), json!("never-passed"))]);
    assert_eq!((&listed["items"][1]["within_seconds"], &listed["items"][1]["team"]), (&json!(2700), &json!("web")));

    let begun = world.post(&world.admin, "/v1/drills/run", &ask).good();
    let run = &begun["run"];
    assert_eq!(
        (&run["id"], &run["name"], &run["kind"], &run["phase"]),
        (&json!(1), &json!("monthly"), &json!("rotation"), &json!("asked"))
    );
    assert_eq!((&run["reason"], &run["ended_at"]), (&json!("quarterly"), &json!(null)));
    // Only production is a way to a service.
    assert_eq!(begun["paths"], json!([{ "service": "shop" }]));
    assert_eq!(world.get(&viewer, "/v1/drills").good()["items"][1]["standing"], "running");
    let twice = world.post(&world.admin, "/v1/drills/run", &json!({ "secret": "www", "reason": "x" }));
    assert_eq!(twice.code(), (409, "drill-running".into()));

    for who in [&owner, &viewer] {
        assert_eq!(world.post(who, "/v1/drills/runs/1/abort", &json!({ "reason": "x" })).code(), (403, "forbidden".into()));
    }
    let ended = world.post(&world.admin, "/v1/drills/runs/1/abort", &json!({ "reason": "wrong day" })).good();
    assert_eq!((&ended["run"]["phase"], &ended["run"]["reasons"][0]["why"]), (&json!("aborted"), &json!("aborted")));
    assert!(ended["run"]["reasons"][0]["detail"].as_str().unwrap().ends_with("wrong day"), "{ended}");
    assert_eq!(world.post(&world.admin, "/v1/drills/runs/1/abort", &json!({ "reason": "x" })).code(), (409, "drill-over".into()));
    assert_eq!(world.get(&viewer, "/v1/drills/runs/1").good(), ended);
    let runs = world.get(&viewer, "/v1/drills/runs?name=monthly").good();
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.get(&viewer, "/v1/drills/runs?name=cable").good()["items"], json!([]));
    assert_eq!(world.get(&viewer, "/v1/drills/runs/9").code(), (404, "not-found".into()));
    let journal = world.journal();
    assert!(journal.contains("abort-drill") && journal.contains("quarterly"), "{journal}");
}

#[test]
fn what_cannot_be_rehearsed_is_refused_by_name_with_all_that_stands_against_it() {
    let world = world();
    for (ask, status, code) in [
        (json!({ "name": "monthly", "reason": " " }), 422, "reason-missing"),
        (json!({ "reason": "x" }), 422, "bad-drill"),
        (json!({ "name": "monthly", "secret": "www", "reason": "x" }), 422, "bad-drill"),
        (json!({ "name": "monthly", "within_seconds": 60, "reason": "x" }), 422, "bad-drill"),
        (json!({ "secret": "www", "kind": "flood", "reason": "x" }), 422, "bad-drill"),
        (json!({ "secret": "www", "kind": "node-down", "reason": "x" }), 422, "bad-drill"),
        (json!({ "secret": "www", "within_seconds": 5, "reason": "x" }), 422, "bad-drill"),
        (json!({ "name": "yearly", "reason": "x" }), 404, "not-found"),
        (json!({ "secret": "none", "reason": "x" }), 404, "not-found"),
        (json!({ "secret": "vendor", "reason": "x" }), 409, "drill-refused"),
    ] {
        assert_eq!(world.post(&world.admin, "/v1/drills/run", &ask).code(), (status, code.into()), "{ask}");
    }
    // Nothing was ever observed there, and the whole region is all there is.
    let refused = world.post(&world.admin, "/v1/drills/run", &json!({ "name": "cable", "reason": "x" })).json();
    let problems = refused["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{refused}");
    assert!(problems.iter().any(|p| p.as_str().unwrap().contains("never observed")), "{refused}");
    let alert = world.post(&world.admin, "/v1/drills/run", &json!({ "secret": "www", "kind": "alert", "reason": "x" })).json();
    assert!(alert["detail"].as_str().unwrap().contains("1 of the 2 targets of www are production"), "{alert}");
    assert_eq!(world.get(&world.admin, "/v1/drills/runs").good()["items"], json!([]), "what was refused never began");
}
