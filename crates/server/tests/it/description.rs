//! The description is pinned, and describes what is served.

use std::{collections::BTreeSet, path::Path};

use crate::support::World;

#[test]
fn the_description_is_what_it_was() {
    let world = World::sealed();
    let served = world.get("", "/v1/openapi.json").good();
    let mut text = serde_json::to_string_pretty(&served).unwrap();
    text.push('\n');
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let pinned = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(text == pinned, "the API differs from {}; look at the difference with UPDATE_GOLDEN=1 and git diff", file.display());
}

#[test]
fn every_route_is_described_and_every_reference_leads_somewhere() {
    let world = World::sealed();
    let served = world.get("", "/v1/openapi.json").good();
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let described: BTreeSet<(String, String)> = served["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |m| (m.to_uppercase(), path.clone())))
        .collect();
    let routed: BTreeSet<(String, String)> = server::http::routes().map(|(m, p, _)| (m.to_owned(), p.to_owned())).collect();
    assert_eq!(described, routed);

    let text = served.to_string();
    let schemas = served["components"]["schemas"].as_object().unwrap();
    for reference in text.split(r##""$ref":""##).skip(1).filter_map(|r| r.split('"').next()) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{name} is referred to and not described");
    }
    let ids: Vec<&str> = text.split(r#""operationId":""#).skip(1).filter_map(|r| r.split('"').next()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "operation ids are unique");
}
