//! Container images: findings say their layer.

use std::fs;

use crate::support::{cert_pem, gzip, key_pem, tar, words, words_of};

fn digest(bytes: &[u8]) -> String {
    pki::Fingerprint::of(bytes).to_string()
}

/// An OCI layout of two layers, one of them gzip, as names and contents.
fn layout() -> Vec<(String, Vec<u8>)> {
    let base = gzip(&tar(&[("etc/ca.pem", cert_pem().as_bytes())]));
    let upper = tar(&[("app/key.pem", key_pem().as_bytes()), ("app/.wh.old", b"")]);
    let layer = |bytes: &[u8]| format!("{{\"digest\":\"sha256:{}\",\"size\":{}}}", digest(bytes), bytes.len());
    let config = br#"{"architecture":"amd64"}"#.to_vec();
    let manifest =
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#, layer(&config), layer(&base), layer(&upper)).into_bytes();
    // An index in the index, as images for several architectures have.
    let inner = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, layer(&manifest)).into_bytes();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{}","annotations":{{"org.opencontainers.image.ref.name":"shop:1"}}}}]}}"#,
        digest(&inner)
    )
    .into_bytes();
    let blob = |bytes: Vec<u8>| (format!("blobs/sha256/{}", digest(&bytes)), bytes);
    vec![
        blob(base),
        blob(upper),
        blob(config),
        blob(manifest),
        blob(inner),
        ("index.json".into(), index),
        ("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ]
}

fn expected(separator: &str, prefix: &str, files: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut lines = vec![
        format!("{separator}{prefix}{}!etc/ca.pem: CN=one.example pem in 1/2 of Some(\"shop:1\")", files[0].0),
        format!("{separator}{prefix}{}!app/key.pem: clear PKCS#8 pem in 2/2 of Some(\"shop:1\")", files[1].0),
    ];
    lines.sort();
    lines
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

#[test]
fn oci_layouts_as_folder_and_as_tar() {
    let files = layout();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    for (name, bytes) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    assert_eq!(sorted(words(folder.path())), expected("/", "", &files));
    let above = folder.path().parent().unwrap();
    assert!(above.is_dir());

    for (prefix, pack) in [("", false), ("./", false), ("", true)] {
        let named: Vec<_> = files.iter().map(|(name, bytes)| (format!("{prefix}{name}"), bytes)).collect();
        let entries: Vec<_> = named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let image = tar(&entries);
        let image = if pack { gzip(&image) } else { image };
        assert_eq!(sorted(words_of(&image)), expected("!", prefix, &files), "{prefix:?} {pack}");
        // Inside of something else.
        let outer = tar(&[("first.pem", cert_pem().as_bytes()), ("img", &image), ("last.pem", cert_pem().as_bytes())]);
        let mut inner = expected("!img!", prefix, &files);
        inner.extend(["!first.pem: CN=one.example pem".to_owned(), "!last.pem: CN=one.example pem".to_owned()]);
        assert_eq!(sorted(words_of(&outer)), sorted(inner), "{prefix:?} {pack}");
    }
}

#[test]
fn docker_save_old_and_new() {
    let base = tar(&[("etc/ca.pem", cert_pem().as_bytes())]);
    let upper = tar(&[("app/key.pem", key_pem().as_bytes())]);
    for [one, two] in [["0aa/layer.tar", "1bb/layer.tar"], ["blobs/sha256/0aa", "blobs/sha256/1bb"]] {
        let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["shop:1","shop:latest"],"Layers":["{one}","{two}"]}}]"#);
        let image = tar(&[(two, &upper), (one, &base), ("c.json", b"{}"), ("manifest.json", manifest.as_bytes()), ("repositories", b"{}")]);
        let expected = [
            format!("!{two}!app/key.pem: clear PKCS#8 pem in 2/2 of Some(\"shop:1\")"),
            format!("!{one}!etc/ca.pem: CN=one.example pem in 1/2 of Some(\"shop:1\")"),
        ];
        assert_eq!(words_of(&image), expected);
    }
}

#[test]
fn descriptions_that_lie_or_lead_in_circles_describe_nothing() {
    let layer = tar(&[("ca.pem", cert_pem().as_bytes())]);
    let blob = format!("blobs/sha256/{}", digest(&layer));
    let circle =
        br#"{"manifests":[{"digest":"sha256:circle"},{"digest":"../../etc/passwd"},{"digest":"sha256:../x"}],"layers":[{"digest":"no"}]}"#;
    for (index, manifest) in [
        (&circle[..], &b"[]"[..]),
        (b"{", b"{"),
        (b"[1,2", br#"[{"Layers":["nothing"],"RepoTags":null}]"#),
        (br#"{"manifests":7}"#, br#"{"Layers":7}"#),
    ] {
        let image = tar(&[("index.json", index), ("blobs/sha256/circle", circle), (&blob, &layer), ("manifest.json", manifest)]);
        assert_eq!(words_of(&image), [format!("!{blob}!ca.pem: CN=one.example pem")]);
    }
}
