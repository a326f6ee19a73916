//! Nothing that people can call gives private material back, and hostile texts come out harmless.

use domain::{Span, Time};
use pki::{KeyType, build::LeafOptions};
use serde_json::{Value, json};

use crate::support::{Chain, World, base64, import};

/// Every GET route, with every name and number that exists.
fn everything(world: &World, token: &str) -> Vec<(String, String)> {
    let names = |list: &str, field: &str| -> Vec<String> {
        let page = world.get(&world.admin, list).good();
        let items = page.get("items").cloned().unwrap_or(page);
        items.as_array().unwrap().iter().map(|i| i[field].to_string().trim_matches('"').to_owned()).collect()
    };
    let mut answers = Vec::new();
    for (method, path, _) in server::http::routes().filter(|(m, _, _)| *m == "GET") {
        let filled = match path {
            "/v1/secrets/{name}" => names("/v1/secrets", "name"),
            "/v1/targets/{name}" => names("/v1/targets", "name"),
            "/v1/incidents/{id}" => names("/v1/incidents?all=true", "id"),
            _ => vec![String::new()],
        };
        for value in filled {
            let url = path.replace("{name}", &value).replace("{id}", &value);
            let answer = world.send(method, token, &url, None);
            // Markup in a text stays a text: nothing is ever sent as a page, or may be taken for one.
            let kind = answer.header("content-type").unwrap();
            assert!(!kind.contains("html"), "{url}: {kind}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{url}");
            assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"), "{url}");
            answers.push((url, answer.text));
        }
    }
    answers
}

#[test]
fn nothing_that_people_can_call_gives_private_material_back() {
    let world = World::new();
    let chain = Chain::new();
    let mut hidden: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, kind) in [("blob-tls", KeyType::EcdsaP256), ("ed", KeyType::Ed25519), ("rsa", KeyType::Rsa2048)] {
        let (leaf, key) = chain.leaf("blob.example.com", kind);
        let body = import(&chain.pem(&leaf), Some(&key));
        let mut dry = body.clone();
        dry["dry_run"] = json!(true);
        for answer in [
            world.post(&world.admin, &format!("/v1/secrets/{name}/versions"), &dry),
            world.post(&world.admin, &format!("/v1/secrets/{name}/versions"), &body),
        ] {
            assert_eq!(answer.status, 200, "{}", answer.text);
            hidden.push((name.into(), key.expose_pkcs8().to_vec()));
        }
    }
    let opaque = b"opaque and rather long material".to_vec();
    world.post(&world.admin, "/v1/secrets/blob-key/opaque", &json!({ "value": base64(&opaque) })).good();
    hidden.push(("blob-key".into(), opaque));
    world.engine.secrets_once(&world.tick()).unwrap();

    let mut needles: Vec<(String, String)> = Vec::new();
    for (name, bytes) in &hidden {
        // A window from the middle of the private part: PKCS#8 ends with it, or with the public key behind it.
        let from = bytes.len() / 3;
        let hex: String = bytes[from..from + 12].iter().map(|b| format!("{b:02x}")).collect();
        needles.push((name.clone(), hex));
        for skip in 0..3 {
            // Base64 at each alignment, without the characters that neighbours would change.
            let text = base64(&bytes[from + skip..from + skip + 15]);
            needles.push((name.clone(), text[..20].to_owned()));
        }
        needles.push((name.clone(), base64(bytes)[..40.min(base64(bytes).len()) - 4].to_owned()));
    }
    let answers = everything(&world, &world.admin);
    assert!(answers.len() > 20, "{}", answers.len());
    for (url, text) in &answers {
        assert!(!text.contains("PRIVATE KEY"), "{url}");
        for (name, needle) in &needles {
            let found = text.contains(needle) || text.to_lowercase().contains(&needle.to_lowercase());
            // Twelve bytes of PKCS#8's frame are no secret; every needle is from behind it.
            assert!(!found, "{url} holds material of {name}: {needle}");
        }
    }
    // The test can fail: certificates of the same size are found by their fingerprints.
    assert!(answers.iter().any(|(_, text)| text.contains("fingerprint_sha256")));
}

#[test]
fn hostile_subjects_come_out_escaped() {
    let world = World::new();
    let chain = Chain::new();
    let key = pki::PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let hostile = "\u{1b}[2J\u{202e}<script>alert(1)</script>\u{0}";
    let from = Time::parse("2026-05-01").unwrap();
    let options = LeafOptions { common_name: Some(hostile.into()), organization: Some("\u{7}bell".into()), ..LeafOptions::default() };
    let leaf = chain.middle.issue(&key, &["blob.example.com"], from, from + Span::days(365), &options).unwrap();
    world.post(&world.admin, "/v1/secrets/blob-tls/versions", &import(&chain.pem(&leaf), Some(&key))).good();
    for (url, text) in everything(&world, &world.admin) {
        let parsed: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        assert_clean(&url, &parsed);
    }
}

/// No control character, no bidirectional override, whatever JSON would have hidden in an escape.
fn assert_clean(url: &str, value: &Value) {
    match value {
        Value::String(text) => {
            let bad = |c: &char| {
                (c.is_control() && *c != '\n') || matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}')
            };
            assert!(!text.chars().any(|c| bad(&c)), "{url}: {text:?}");
        }
        Value::Array(items) => items.iter().for_each(|i| assert_clean(url, i)),
        Value::Object(fields) => fields.iter().for_each(|(_, v)| assert_clean(url, v)),
        _ => {}
    }
}

/// Deleted is not gone: the file and its log keep what was there until something is written over it.
#[test]
fn after_a_rotation_nothing_of_the_old_key_is_left_in_the_files() {
    use store::{Actor, model::secret};
    let world = World::new();
    let body = json!({ "value": base64("a secret"), "reason": "a test" });
    world.post(&world.admin, "/v1/secrets/blob-key/opaque", &body).good();
    let old: Vec<Vec<u8>> = world
        .engine
        .store()
        .read(|tx| {
            let records = secret::keks(tx)?.into_iter().map(|k| k.record.into_bytes());
            let wrapped = tx.query("SELECT wrapped FROM sealed ORDER BY instance_id", &[])?;
            let wrapped: Vec<Vec<u8>> = wrapped.iter().map(|r| r.bytes(0).map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
            Ok(records.chain(wrapped).collect())
        })
        .unwrap();
    assert_eq!(old.len(), 2);
    let found = || {
        let files = ["store.db", "store.db-wal"].map(|name| std::fs::read(world.dir.path().join(name)).unwrap_or_default());
        old.iter().filter(|part| files.iter().any(|file| file.windows(part.len()).any(|at| at == part.as_slice()))).count()
    };
    assert_eq!(found(), 2);
    let (actor, tick) = (Actor::new("test", "rotates"), world.tick());
    let new = crate::support::cheap("another horse altogether");
    assert_eq!(world.engine.rotate_kek(&new, &mut crate::support::entropy, &actor, &tick).unwrap(), 1);
    assert_eq!(found(), 0);
}

/// What is copied out, and what is put back, is its owner's alone.
#[cfg(unix)]
#[test]
fn a_backup_and_what_is_restored_from_it_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let world = World::new();
    let made = world.post(&world.admin, "/v1/backup", &json!({ "path": "copy.db" })).good();
    let file = std::path::PathBuf::from(made["file"].as_str().unwrap());
    assert_eq!(mode(&file), 0o600);
    // It was carried about, and everybody can read it now.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let restored = server::restore::restore(&place.path().join("data"), &file, "a test").unwrap();
    assert_eq!((mode(&place.path().join("data")), mode(&restored.database)), (0o700, 0o600));
}
