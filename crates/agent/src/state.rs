//! The agent's folder: everything that a restart needs, in any order, with the store gone.
//!
//! | file | holds |
//! | --- | --- |
//! | `lock` | nothing; one agent at a time holds it |
//! | `identity.json` | node, store, roots, the client certificate and its key |
//! | `joining.json` | the key of a join that has not been answered yet |
//! | `manifest.json` | the signed manifest that is acted on, and whose signatures are believed next |
//! | `versions/s-NAME/N.json` | one version: chains, keys, or a key that waits for its chain |
//! | `places/ID.json` | the journal of one place ([`crate::install::Record`]) |
//! | `status.json` | what `status` shows besides |
//!
//! Folders are 0700, files 0600. Keys are kept under the [`Lock`].

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use api::agent::SignedManifest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::PrivateKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    config::Install,
    error::Error,
    files,
    install::Record,
    seal::{self, Kept, Lock},
};

/// Versions of a secret that are kept beside those that lie at a place, so that a step back needs no store.
pub const KEPT_VERSIONS: usize = 3;

/// The folder, held by this process alone.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    lock: Lock,
    _held: Option<File>,
}

/// Who this agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node: String,
    /// The store's id.
    pub store: String,
    /// `host:port` of the agents' door.
    pub address: String,
    /// Whom to believe there, PEM.
    pub roots: String,
    /// The client certificate: DER, base64, leaf first.
    pub chain: Vec<String>,
    /// Its key.
    pub key: Kept,
}

/// A join that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joining {
    /// Its key.
    pub key: Kept,
}

/// What is acted on, and whose word is taken next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The store's id.
    pub store: String,
    /// The latest life of it that was seen.
    pub epoch: i64,
    /// The node.
    pub node: String,
    /// The generation that is acted on; 0 before the first.
    pub generation: i64,
    /// The public half of the key that signs manifests (SubjectPublicKeyInfo, DER, base64).
    pub key: String,
    /// The manifest as it was signed.
    pub signed: Option<SignedManifest>,
}

/// One version of a secret, as far as it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The secret.
    pub secret: String,
    /// The number.
    pub version: i64,
    /// The life of the store in which it was brought: a restored store gives its numbers out anew.
    #[serde(default)]
    pub epoch: i64,
    /// Chain and key of each key type.
    #[serde(default)]
    pub pairs: Vec<Pair>,
    /// A key that was born here. It stays the key of this version whatever happens.
    #[serde(default)]
    pub born: Option<Kept>,
}

/// A chain with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// DER, base64, leaf first.
    pub chain: Vec<String>,
    /// PKCS#8.
    pub key: Kept,
}

/// What `status` shows besides what lies in the other files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// When the store answered last (Unix seconds).
    pub answered_at: Option<i64>,
    /// Why the last attempt failed.
    pub failure: Option<String>,
    /// How far this node's clock was ahead of the store's, in seconds.
    pub ahead: Option<i64>,
    /// By secret: what its version waits for.
    #[serde(default)]
    pub waits: std::collections::BTreeMap<String, String>,
}

impl State {
    /// Opens the folder and holds it, making it where it is not there.
    ///
    /// # Errors
    /// Another agent holds it, or the disk says no.
    pub fn hold(folder: &Path, lock: Lock) -> Result<State, Error> {
        fs::create_dir_all(folder.parent().unwrap_or(folder)).map_err(|error| Error::disk(folder, &error))?;
        for path in [folder.to_owned(), folder.join("versions"), folder.join("places")] {
            files::folder(&path, 0o700).map_err(Error::Disk)?;
        }
        let path = folder.join("lock");
        let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let held = open().map_err(|error| Error::disk(&path, &error))?;
        match held.try_lock() {
            Ok(()) => {
                let state = State { folder: folder.to_owned(), lock, _held: Some(held) };
                // A full disk is no reason not to start, and `status` says what still lies in the clear.
                let _ = state.seal_what_is_plain();
                Ok(state)
            }
            Err(TryLockError::WouldBlock) => Err(Error::Held(folder.display().to_string())),
            Err(TryLockError::Error(error)) => Err(Error::disk(&path, &error)),
        }
    }

    /// Opens it to look only.
    #[must_use]
    pub fn look(folder: &Path, lock: Lock) -> State {
        State { folder: folder.to_owned(), lock, _held: None }
    }

    /// How keys are kept here, as their files say. A credential that a call was given says nothing about them.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn protection(&self) -> Result<String, Error> {
        let mut kept: Vec<Kept> = self.identity()?.map(|identity| identity.key).into_iter().collect();
        kept.extend(self.get::<Joining>("joining.json")?.map(|joining| joining.key));
        for (secret, number) in self.all_versions()? {
            let version = self.version(&secret, number)?;
            kept.extend(version.into_iter().flat_map(|version| version.pairs.into_iter().map(|pair| pair.key).chain(version.born)));
        }
        let plain = kept.iter().filter(|kept| matches!(kept, Kept::Plain(_))).count();
        Ok(match (kept.len(), plain) {
            (0, _) => self.lock.describe().to_owned(),
            (_, 0) => seal::SEALED.to_owned(),
            (all, plain) if all == plain => seal::MODE_ALONE.to_owned(),
            (all, plain) => format!("{} of {all} {}; {plain} by {}", all - plain, seal::SEALED, seal::MODE_ALONE),
        })
    }

    /// What was kept before there was a credential is kept under it from now on. What the disk held before may still be found on it.
    fn seal_what_is_plain(&self) -> Result<(), Error> {
        if matches!(self.lock, Lock::ModeAlone) {
            return Ok(());
        }
        let seal = |place: &str, kept: &mut Kept| match kept {
            Kept::Plain(_) => self.lock.open(place, kept).and_then(|bytes| self.lock.keep(place, &bytes)).map(|sealed| {
                *kept = sealed;
                true
            }),
            Kept::Sealed(_) => Ok(false),
        };
        if let Some(mut identity) = self.identity()?
            && seal("identity", &mut identity.key)?
        {
            self.set_identity(&identity)?;
        }
        if let Some(mut joining) = self.get::<Joining>("joining.json")?
            && seal("identity", &mut joining.key)?
        {
            self.set("joining.json", &joining)?;
        }
        for (secret, number) in self.all_versions()? {
            let Some(mut version) = self.version(&secret, number)? else { continue };
            let (place, mut changed) = (version_place(&secret, number), false);
            for kept in version.pairs.iter_mut().map(|pair| &mut pair.key).chain(&mut version.born) {
                changed |= seal(&place, kept)?;
            }
            if changed {
                self.set_version(&version)?;
            }
        }
        Ok(())
    }

    /// Secret and number of every version that is here.
    fn all_versions(&self) -> Result<Vec<(String, i64)>, Error> {
        let mut all = Vec::new();
        let folder = self.folder.join("versions");
        for entry in fs::read_dir(&folder).map_err(|error| Error::disk(&folder, &error))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(secret) = name.strip_prefix("s-") else { continue };
            all.extend(self.numbers(secret).into_iter().map(|number| (secret.to_owned(), number)));
        }
        Ok(all)
    }

    /// The versions of a secret that are here.
    fn numbers(&self, secret: &str) -> Vec<i64> {
        let entries = fs::read_dir(self.folder.join(format!("versions/s-{secret}"))).into_iter().flatten();
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()).collect()
    }

    /// Who this agent is, once it has joined.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        self.get("identity.json")
    }

    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.set("identity.json", identity)
    }

    /// The key that this agent lives on.
    pub(crate) fn identity_key(&self, identity: &Identity) -> Result<PrivateKey, Error> {
        self.open_key("identity", &identity.key)
    }

    /// The key of a join that was begun, made where there is none yet: a join that is repeated is the same join.
    pub(crate) fn joining_key(&self) -> Result<PrivateKey, Error> {
        if let Some(joining) = self.get::<Joining>("joining.json")? {
            return self.open_key("identity", &joining.key);
        }
        let key = PrivateKey::generate(pki::KeyType::EcdsaP256).map_err(|error| Error::Key(error.to_string()))?;
        self.set("joining.json", &Joining { key: self.keep_key("identity", &key)? })?;
        Ok(key)
    }

    /// The join was answered: identity, then whom to believe; whatever of this is missing after a crash is joined again.
    pub(crate) fn joined(&self, identity: &Identity, known: &Known) -> Result<(), Error> {
        self.set("manifest.json", known)?;
        self.set_identity(identity)?;
        files::remove(&self.folder.join("joining.json")).map_err(Error::Disk)
    }

    /// What is acted on.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn known(&self) -> Result<Option<Known>, Error> {
        self.get("manifest.json")
    }

    pub(crate) fn set_known(&self, known: &Known) -> Result<(), Error> {
        self.set("manifest.json", known)
    }

    /// What `status` shows besides.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn contact(&self) -> Result<Contact, Error> {
        Ok(self.get("status.json")?.unwrap_or_default())
    }

    /// Not worth a wait for the disk: it is said again.
    pub(crate) fn note_contact(&self, contact: &Contact) -> Result<(), Error> {
        let bytes = serde_json::to_vec(contact).map_err(|error| Error::Disk(io::Error::other(error.to_string())))?;
        files::note(&self.folder.join("status.json"), &bytes).map_err(Error::Disk)
    }

    fn version_file(secret: &str, version: i64) -> String {
        // Names have no slash (`api::fleet::is_name`); the prefix keeps `..` from being one here.
        format!("versions/s-{secret}/{version}.json")
    }

    /// A version, as far as it is here.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn version(&self, secret: &str, version: i64) -> Result<Option<Version>, Error> {
        if !api::fleet::is_name(secret) {
            return Err(Error::Manifest(format!("{} is no name of a secret", pki::text::escape(secret))));
        }
        self.get(&Self::version_file(secret, version))
    }

    pub(crate) fn set_version(&self, version: &Version) -> Result<(), Error> {
        files::folder(&self.folder.join(format!("versions/s-{}", version.secret)), 0o700).map_err(Error::Disk)?;
        self.set(&Self::version_file(&version.secret, version.version), version)
    }

    /// Forgets versions that are older than the [`KEPT_VERSIONS`] newest and lie nowhere.
    pub(crate) fn prune_versions(&self, secret: &str, needed: &[i64]) -> Result<(), Error> {
        let mut numbers = self.numbers(secret);
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers.into_iter().skip(KEPT_VERSIONS).filter(|number| !needed.contains(number)) {
            files::remove(&self.folder.join(Self::version_file(secret, number))).map_err(Error::Disk)?;
        }
        Ok(())
    }

    fn place_file(install: &Install) -> String {
        let place = format!("{}\0{}", install.secret, install.place.path().display());
        let id = pki::Fingerprint::of(place.as_bytes()).to_string();
        format!("places/{}.json", id.get(..32).unwrap_or(&id))
    }

    /// The journal of a place.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn record(&self, install: &Install) -> Result<Record, Error> {
        Ok(self.get(&Self::place_file(install))?.unwrap_or_default())
    }

    pub(crate) fn set_record(&self, install: &Install, record: &Record) -> Result<(), Error> {
        self.set(&Self::place_file(install), record)
    }

    pub(crate) fn keep_key(&self, place: &str, key: &PrivateKey) -> Result<Kept, Error> {
        Ok(self.lock.keep(place, key.expose_pkcs8())?)
    }

    pub(crate) fn open_key(&self, place: &str, kept: &Kept) -> Result<PrivateKey, Error> {
        PrivateKey::from_der(&self.lock.open(place, kept)?).map_err(|error| Error::Key(format!("{place}: {error}")))
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.folder.join(name);
        let Some(bytes) = files::read(&path).map_err(Error::Disk)? else { return Ok(None) };
        // The parser's own message shows the text, and the text may be a key's.
        let wrong = || Error::Disk(io::Error::other(format!("{}: it is not what an agent writes", path.display())));
        serde_json::from_slice(&bytes).map(Some).map_err(|_| wrong())
    }

    fn set<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let bytes = Zeroizing::new(serde_json::to_vec(value).map_err(|error| Error::Disk(io::Error::other(error.to_string())))?);
        files::replace(&self.folder.join(name), &bytes, 0o600).map_err(Error::Disk)
    }
}

/// The place of a version's key, for the [`Lock`].
pub(crate) fn version_place(secret: &str, version: i64) -> String {
    format!("version {version} of {secret}")
}

/// The client certificate.
#[must_use]
pub fn leaf(identity: &Identity) -> Option<pki::Certificate> {
    let der = ders(identity.chain.get(..1)?).ok()?.into_iter().next()?;
    pki::Certificate::parse(der).ok()
}

/// Certificates as they travel.
///
/// # Errors
/// One of them is no base64.
pub(crate) fn ders(chain: &[String]) -> Result<Vec<Vec<u8>>, Error> {
    chain.iter().map(|text| STANDARD.decode(text).map_err(|_| Error::Answer("a certificate is no base64".to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn one_agent_holds_the_folder_and_nobody_else_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        let state = State::hold(&folder, Lock::ModeAlone).unwrap();
        assert!(matches!(State::hold(&folder, Lock::ModeAlone), Err(Error::Held(_))));
        let key = state.joining_key().unwrap();
        assert_eq!(state.joining_key().unwrap().spki_fingerprint(), key.spki_fingerprint(), "the same join");
        for (path, mode) in [("", 0o700), ("versions", 0o700), ("joining.json", 0o600), ("lock", 0o600)] {
            assert_eq!(fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
        }
        drop(state);
        State::hold(&folder, Lock::ModeAlone).unwrap();
    }

    #[test]
    fn what_lies_somewhere_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let state = State::hold(&home.path().join("state"), Lock::ModeAlone).unwrap();
        for version in 1..=9 {
            state.set_version(&Version { secret: "..".into(), version, epoch: 1, pairs: vec![], born: None }).unwrap();
        }
        state.prune_versions("..", &[2]).unwrap();
        let here: Vec<i64> = (1..=9).filter(|version| state.version("..", *version).unwrap().is_some()).collect();
        assert_eq!(here, [2, 7, 8, 9]);
        assert!(state.version("a/b", 1).is_err());
    }

    #[test]
    fn a_credential_that_comes_later_seals_what_lies_in_the_clear() {
        let home = tempfile::tempdir().unwrap();
        let (folder, credentials) = (home.path().join("state"), home.path().join("credentials"));
        let state = State::hold(&folder, Lock::ModeAlone).unwrap();
        let key = state.joining_key().unwrap();
        let kept = || state.keep_key(&version_place("www", 3), &key).unwrap();
        let pairs = vec![Pair { chain: vec![], key: kept() }];
        state.set_version(&Version { secret: "www".into(), version: 3, epoch: 1, pairs, born: Some(kept()) }).unwrap();
        assert!(state.protection().unwrap().starts_with("the file mode alone"));
        drop(state);
        fs::create_dir(&credentials).unwrap();
        fs::write(credentials.join(seal::CREDENTIAL), [7; 32]).unwrap();
        let lock = || Lock::given(Some(&credentials)).unwrap();
        // Who only looks under a credential does not make it so.
        assert!(State::look(&folder, lock()).protection().unwrap().starts_with("the file mode alone"));
        let state = State::hold(&folder, lock()).unwrap();
        assert_eq!(State::look(&folder, Lock::ModeAlone).protection().unwrap(), "sealed under a systemd credential");
        assert_eq!(state.joining_key().unwrap().spki_fingerprint(), key.spki_fingerprint());
        let version = state.version("www", 3).unwrap().unwrap();
        assert_eq!(state.open_key(&version_place("www", 3), &version.pairs[0].key).unwrap().spki_fingerprint(), key.spki_fingerprint());
        let plain = Lock::ModeAlone.keep(&version_place("www", 4), key.expose_pkcs8()).unwrap();
        state.set_version(&Version { secret: "www".into(), version: 4, epoch: 1, pairs: vec![], born: Some(plain) }).unwrap();
        let said = state.protection().unwrap();
        assert!(said.starts_with("3 of 4 sealed under a systemd credential; 1 by the file mode alone"), "{said}");
    }
}
