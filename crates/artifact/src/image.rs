//! Container images: which of the blobs are layers, and of what. OCI image layouts (image-spec, image-layout.md) and `docker save`, old and new.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use pki::text::escape;
use serde::Deserialize;

use crate::finding::{Finding, Layer};
use crate::place::Place;

/// Largest description that is read; a registry refuses manifests beyond 4 MiB.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// What descriptions of one image may take together.
const MAX_KEPT: usize = 32 * 1024 * 1024;
/// Most descriptions that lead to each other.
const MAX_MANIFESTS: usize = 4096;

/// What an archive says about itself on the way.
#[derive(Default)]
pub(crate) struct Notes {
    /// Where the findings begin that wait for the layers' names.
    from: Option<usize>,
    kept: BTreeMap<String, Vec<u8>>,
    kept_bytes: usize,
}

impl Notes {
    /// Sees the name of an entry; `hold` is called at the first that looks like an image's.
    pub(crate) fn entry(&mut self, name: &[u8], hold: impl FnOnce() -> usize) {
        let name = plain(name);
        let image = matches!(name, b"index.json" | b"manifest.json" | b"oci-layout")
            || name.starts_with(b"blobs/")
            || name.ends_with(b"/layer.tar");
        if image && self.from.is_none() {
            self.from = Some(hold());
        }
    }

    /// Whether this entry may describe others.
    pub(crate) fn wants(&self, name: &[u8], size: u64) -> bool {
        let name = plain(name);
        let room = usize::try_from(size).is_ok_and(|size| self.kept_bytes + size <= MAX_KEPT);
        self.from.is_some()
            && size <= MAX_MANIFEST
            && room
            && (matches!(name, b"index.json" | b"manifest.json") || name.starts_with(b"blobs/"))
    }

    /// Reads the entry; what may be a description is kept. Gives back all that could be read.
    pub(crate) fn keep(&mut self, name: &[u8], part: &mut dyn Read) -> Vec<u8> {
        let mut text = Vec::new();
        // What is missing was told by the reader.
        let _ = part.take(MAX_MANIFEST).read_to_end(&mut text);
        if text.first() == Some(&b'{') || text.first() == Some(&b'[') {
            self.kept_bytes += text.len();
            self.kept.insert(String::from_utf8_lossy(plain(name)).into_owned(), text.clone());
        }
        text
    }

    /// Where the findings begin that wait, and what they are to be told.
    pub(crate) fn finish(self) -> Option<(usize, Layers)> {
        let kept = self.kept;
        Some((self.from?, Layers::read(&mut |name| kept.get(name).cloned())))
    }
}

fn plain(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"./").unwrap_or(name)
}

/// Which entry is which layer.
#[derive(Default)]
pub(crate) struct Layers(BTreeMap<String, Layer>);

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A manifest, or an index inside of an index.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Layers {
    /// Follows the descriptions; `get` answers with an entry's text. What cannot be read describes nothing.
    pub(crate) fn read(get: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> Layers {
        let mut layers = Layers::default();
        // docker's own words first: they know the tags.
        let saved: Vec<Saved> = get("manifest.json").and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        for image in saved {
            let tag = image.repo_tags.unwrap_or_default().into_iter().next();
            layers.add(&image.layers, tag.as_deref());
        }
        let index: Option<Index> = get("index.json").and_then(|text| serde_json::from_slice(&text).ok());
        let mut waiting: Vec<(Descriptor, Option<String>)> =
            index.map(|index| index.manifests).unwrap_or_default().into_iter().map(|one| (one, None)).collect();
        waiting.reverse();
        let mut seen = BTreeSet::new();
        while let Some((descriptor, above)) = waiting.pop() {
            let named = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
                .iter()
                .find_map(|key| descriptor.annotations.get(*key))
                .cloned();
            let name = named.or(above);
            let Some(blob) = blob(&descriptor.digest) else { continue };
            if seen.len() == MAX_MANIFESTS || !seen.insert(blob.clone()) {
                continue;
            }
            let Some(manifest): Option<Manifest> = get(&blob).and_then(|text| serde_json::from_slice(&text).ok()) else { continue };
            let entries: Vec<String> = manifest.layers.iter().filter_map(|layer| self::blob(&layer.digest)).collect();
            layers.add(&entries, name.as_deref());
            waiting.extend(manifest.manifests.into_iter().rev().map(|one| (one, name.clone())));
        }
        layers
    }

    fn add(&mut self, entries: &[String], image: Option<&str>) {
        for (at, entry) in entries.iter().enumerate() {
            let layer = Layer { number: at + 1, of: entries.len(), image: image.map(escape) };
            self.0.entry(entry.clone()).or_insert(layer);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells a finding its layer, if it lies in one; `image` is the place of the image, whose entries follow after `separator`.
    pub(crate) fn note(&self, finding: &mut Finding, image: &Place, separator: char) {
        let entry =
            finding.path.strip_prefix(&image.0).and_then(|rest| rest.strip_prefix(separator)).and_then(|rest| rest.split('!').next());
        if finding.layer.is_none() {
            finding.layer = entry.and_then(|entry| self.0.get(entry.strip_prefix("./").unwrap_or(entry))).cloned();
        }
    }
}

/// "sha256:0a…" → "blobs/sha256/0a…".
fn blob(digest: &str) -> Option<String> {
    let (algorithm, hex) = digest.split_once(':')?;
    let plain = |text: &str| !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain(algorithm) && plain(hex)).then(|| format!("blobs/{algorithm}/{hex}"))
}
