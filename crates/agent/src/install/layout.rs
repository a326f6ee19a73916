//! How a place looks on the disk, and why its readers never see half of a change.
//!
//! Every state of a place has a folder of its own (its *label*), which is written whole and synced before anybody can reach it.
//!
//! ```text
//! /etc/nginx/tls/fullchain.pem  → .fullchain.pem.perennial/current/fullchain.pem
//! /etc/nginx/tls/key.pem        → .fullchain.pem.perennial/current/key.pem
//! /etc/nginx/tls/.fullchain.pem.perennial/current → v7-9f86d081
//! /etc/nginx/tls/.fullchain.pem.perennial/v7-9f86d081/{fullchain.pem,key.pem}
//! ```
//!
//! Certificate and key change by the one `rename` of `current`, wherever their two paths lie. A place of one combined file changes by the
//! `rename` of that file, and a directory by its `current`. Files that lay there before are taken over first: copied to a label, `current`
//! led there, and only then does each path become a link, to the very bytes that it held.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use pki::{Fingerprint, Limits, load};
use zeroize::Zeroizing;

use super::{
    accounts,
    core::Lies,
    own::{Own, Owner},
};
use crate::{
    config::{Install, Place},
    files,
};

/// The chain, in a label's folder.
pub(super) const CHAIN: &str = "fullchain.pem";
/// The key, in a label's folder.
pub(super) const KEY: &str = "key.pem";
/// Chain and key, in a label's folder.
pub(super) const COMBINED: &str = "combined.pem";
/// What leads to the label that readers see.
pub(super) const CURRENT: &str = "current";
/// A combined file on its way to its path, in the folder of the labels.
const BESIDE: &str = ".switch";
/// How the label of what lay there before begins.
const ADOPTED: &str = "adopted-";
/// Hexadecimal digits of a digest in a label.
const DIGITS: usize = 16;

/// What a label holds.
pub(crate) struct Bytes {
    pub(crate) files: Vec<(&'static str, Zeroizing<Vec<u8>>)>,
}

impl Bytes {
    /// Of all names and bytes; in the label, so that a folder says itself whether it is whole.
    fn digest(&self) -> String {
        let mut all = Zeroizing::new(Vec::with_capacity(self.files.iter().map(|(name, bytes)| name.len() + bytes.len() + 16).sum()));
        for (name, bytes) in &self.files {
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            all.extend_from_slice(bytes);
        }
        let mut digest = Fingerprint::of(&all).to_string();
        digest.truncate(DIGITS);
        digest
    }
}

/// A place on this machine's disk.
pub(crate) struct Spot<'a>(pub(crate) &'a Install);

impl Spot<'_> {
    /// The names that a label of this place holds.
    pub(crate) fn names(&self) -> &'static [&'static str] {
        match self.0.place {
            Place::Pair { .. } => &[CHAIN, KEY],
            Place::Combined(_) => &[COMBINED],
            Place::Directory(_) => &[CHAIN, KEY, COMBINED],
        }
    }

    /// The folder of the labels.
    fn base(&self) -> PathBuf {
        match &self.0.place {
            Place::Pair { certificate: path, .. } | Place::Combined(path) => {
                path.with_file_name(format!(".{}.perennial", path.file_name().unwrap_or_default().to_string_lossy()))
            }
            Place::Directory(path) => path.clone(),
        }
    }

    fn current(&self) -> PathBuf {
        self.base().join(CURRENT)
    }

    /// The paths that are links into the current label, with the name of the file there.
    fn links(&self) -> Vec<(&Path, &'static str)> {
        match &self.0.place {
            Place::Pair { certificate, key } => vec![(certificate, CHAIN), (key, KEY)],
            Place::Combined(_) | Place::Directory(_) => vec![],
        }
    }

    /// What such a link says: relative beside the labels, so that it also holds in another root.
    fn link_to(&self, link: &Path, name: &str) -> PathBuf {
        let current = self.current();
        match (link.parent(), current.parent().and_then(Path::parent), current.parent().and_then(Path::file_name)) {
            (Some(folder), Some(home), Some(base)) if folder == home => Path::new(base).join(CURRENT).join(name),
            _ => current.join(name),
        }
    }

    /// The label that readers are led to, where a link leads them.
    fn label(&self) -> io::Result<Option<String>> {
        let current = self.current();
        match fs::read_link(&current) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => {
                Err(io::Error::other(format!("{} is there and leads nowhere: it is none of the agent's; move it away", current.display())))
            }
        }
    }

    /// The folder of the labels, made where it is not there: on a disk that lives in memory it is gone after every start of the machine.
    fn own(&self) -> io::Result<Own> {
        let base = self.base();
        fs::create_dir_all(base.parent().unwrap_or(&base)).map_err(|error| files::at(&base, &error))?;
        if fs::symlink_metadata(&base).is_err() {
            files::folder(&base, 0o755)?;
        }
        Own::open(&base)
    }

    /// Takes over what lies at the place, which changes nothing for its readers. `None` where there is nothing.
    pub(crate) fn adopt(&self, step: &dyn Fn(&str)) -> io::Result<Option<Lies>> {
        let own = self.own()?;
        step("own");
        let label = match &self.0.place {
            Place::Directory(_) => self.label()?,
            Place::Combined(path) => match files::read_with_owner(path, true)? {
                Some(found) => Some(self.keep_before(vec![(COMBINED, found)])?),
                None => None,
            },
            Place::Pair { certificate, key } => match self.label()? {
                Some(label) => {
                    for (path, name) in self.links() {
                        self.take_over(path, name, &label)?;
                    }
                    Some(label)
                }
                None => match (files::read_with_owner(certificate, true)?, files::read_with_owner(key, true)?) {
                    (Some(chain), Some(secret)) => {
                        let label = self.keep_before(vec![(CHAIN, chain), (KEY, secret)])?;
                        step("kept");
                        own.point(CURRENT, &label)?;
                        step("led");
                        for (path, name) in self.links() {
                            files::point(path, &self.link_to(path, name))?;
                            step(if name == CHAIN { "linked chain" } else { "linked key" });
                        }
                        Some(label)
                    }
                    (None, None) => {
                        // Both lead nowhere until the one switch makes the pair appear.
                        for (path, name) in self.links() {
                            files::point(path, &self.link_to(path, name))?;
                        }
                        None
                    }
                    (chain, _) => {
                        let (here, gone) = if chain.is_some() { (certificate, key) } else { (key, certificate) };
                        return Err(io::Error::other(format!(
                            "{} is there and {} is not; half a pair cannot be taken over, move it away",
                            here.display(),
                            gone.display()
                        )));
                    }
                },
            },
        };
        Ok(label.map(|label| Lies { version: 0, leaf: self.leaf(&label), label, seen: false }))
    }

    /// A path that does not lead to the current label yet, although the other one may: where it holds what the label holds, it becomes a link.
    fn take_over(&self, path: &Path, name: &str, label: &str) -> io::Result<()> {
        let link = self.link_to(path, name);
        let is_link = fs::read_link(path).is_ok_and(|now| now == link);
        if !is_link && label.starts_with(ADOPTED) {
            let (own, kept) = (files::read(path)?, files::read(&self.base().join(label).join(name))?);
            if own.is_some() && own != kept {
                return Err(io::Error::other(format!("{} changed while it was taken over; move it away, or set it right", path.display())));
            }
        }
        files::point(path, &link)
    }

    fn keep_before(&self, found: Vec<(&'static str, files::Found)>) -> io::Result<String> {
        let (mut files, mut owners) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
        for (name, (bytes, meta)) in found {
            files.push((name, bytes));
            owners.push(Owner { user: Some(meta.uid()), group: Some(meta.gid()), mode: meta.mode() & 0o777 });
        }
        let bytes = Bytes { files };
        let label = format!("{ADOPTED}{}", bytes.digest());
        if !self.is_whole(&label) {
            self.write(&label, &bytes, &owners)?;
        }
        Ok(label)
    }

    /// Writes a label aside, synced. What is whole already is left alone, and what readers see is never written to.
    pub(crate) fn stage(&self, version: i64, bytes: &Bytes) -> io::Result<String> {
        let mut label = format!("v{version}-{}", bytes.digest());
        if !self.is_whole(&label) || !self.owners_are_right(&label)? {
            if self.label()?.as_ref() == Some(&label) {
                label.push('~');
            }
            let owners = bytes.files.iter().map(|(name, _)| self.owner(name)).collect::<io::Result<Vec<_>>>()?;
            self.write(&label, bytes, &owners)?;
        }
        Ok(label)
    }

    fn write(&self, label: &str, bytes: &Bytes, owners: &[Owner]) -> io::Result<()> {
        let (own, path) = (self.own()?, self.base().join(label));
        let write = || {
            files::remove_folder(&path)?;
            let folder = own.create_folder(label)?;
            for ((name, bytes), owner) in bytes.files.iter().zip(owners) {
                folder.create(name, bytes, *owner)?;
            }
            folder.sync()?;
            own.sync()
        };
        write().inspect_err(|_| {
            // On a full disk the half that was written is in the way of the next try.
            let _ = files::remove_folder(&path);
        })
    }

    /// Who is to own a file: as configured, else as it is, else the agent with the narrowest mode. What holds a key is never everybody's to
    /// read, whatever the file before was.
    fn owner(&self, name: &str) -> io::Result<Owner> {
        let now = match &self.0.place {
            Place::Combined(path) => fs::metadata(path).ok(),
            _ => fs::metadata(self.current().join(name)).ok(),
        };
        let named = |name: &Option<String>, find: fn(&str) -> io::Result<u32>| name.as_deref().map(find).transpose();
        let mode = if name == CHAIN {
            now.as_ref().map_or(0o644, |meta| meta.mode() & 0o777)
        } else {
            self.0.mode.or_else(|| now.as_ref().map(|meta| meta.mode() & 0o640)).unwrap_or(0o600)
        };
        Ok(Owner {
            user: named(&self.0.owner, accounts::user)?.or_else(|| now.as_ref().map(fs::Metadata::uid)),
            group: named(&self.0.group, accounts::group)?.or_else(|| now.as_ref().map(fs::Metadata::gid)),
            mode,
        })
    }

    fn owners_are_right(&self, label: &str) -> io::Result<bool> {
        for name in self.names() {
            let (owner, meta) = (self.owner(name)?, fs::metadata(self.base().join(label).join(name))?);
            let right = owner.user.is_none_or(|user| user == meta.uid()) && owner.group.is_none_or(|group| group == meta.gid());
            if !right || owner.mode != meta.mode() & 0o777 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a label's folder holds.
    pub(crate) fn read(&self, label: &str) -> io::Result<Option<Bytes>> {
        let mut bytes = Vec::new();
        for name in self.names() {
            match files::read(&self.base().join(label).join(name))? {
                Some(one) => bytes.push((*name, one)),
                None => return Ok(None),
            }
        }
        Ok(Some(Bytes { files: bytes }))
    }

    /// Whether a label's folder holds what its name says.
    pub(super) fn is_whole(&self, label: &str) -> bool {
        let digest = label.trim_end_matches('~').rsplit('-').next();
        self.read(label).ok().flatten().is_some_and(|bytes| digest == Some(&bytes.digest()))
    }

    /// The one step by which readers see this label instead of another.
    pub(crate) fn switch(&self, label: &str) -> io::Result<()> {
        let Place::Combined(path) = &self.0.place else { return self.lead(label) };
        let from = self.base().join(label).join(COMBINED);
        let found = files::read_with_owner(&from, false)?;
        let (bytes, meta) = found.ok_or_else(|| io::Error::other(format!("{} is gone", from.display())))?;
        if files::read(path)?.as_ref() == Some(&bytes) {
            return Ok(());
        }
        let own = self.own()?;
        own.remove(BESIDE)?;
        let done = own
            .create(BESIDE, &bytes, Owner { user: Some(meta.uid()), group: Some(meta.gid()), mode: meta.mode() & 0o777 })
            .and_then(|()| own.rename(BESIDE, path));
        if done.is_err() {
            let _ = own.remove(BESIDE);
        }
        done?;
        path.parent().map_or(Ok(()), files::sync_folder)
    }

    fn lead(&self, label: &str) -> io::Result<()> {
        if self.label()?.as_deref() != Some(label) {
            self.own()?.point(CURRENT, label)?;
        }
        for (path, name) in self.links() {
            files::point(path, &self.link_to(path, name))?;
        }
        Ok(())
    }

    /// Whether readers see this label, whole.
    pub(crate) fn shows(&self, label: &str) -> bool {
        if let Place::Combined(path) = &self.0.place {
            let digest = |bytes| Bytes { files: vec![(COMBINED, bytes)] }.digest();
            return files::read(path).ok().flatten().map(digest).as_deref() == label.trim_end_matches('~').rsplit('-').next();
        }
        let leads = self.label().ok().flatten().as_deref() == Some(label);
        let links = self.links().into_iter().all(|(path, name)| fs::read_link(path).is_ok_and(|now| now == self.link_to(path, name)));
        leads && links && self.is_whole(label)
    }

    /// The leaf that a label holds, where it can be read.
    pub(crate) fn leaf(&self, label: &str) -> Option<String> {
        let bytes = self.read(label).ok()??;
        let (_, chain) = bytes.files.iter().find(|(name, _)| *name != KEY)?;
        leaf_of(chain)
    }

    /// Removes every label but these: keys that nobody is led to do not lie about.
    pub(crate) fn prune(&self, keep: &[&str]) -> io::Result<()> {
        let base = self.base();
        for entry in fs::read_dir(&base).map_err(|error| files::at(&base, &error))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_label(&name) && !keep.contains(&name.as_str()) {
                files::remove_folder(&base.join(&name))?;
            }
        }
        Ok(())
    }
}

/// The leaf of a chain in PEM, if it holds one: SHA-256 in hexadecimal.
pub(crate) fn leaf_of(pem: &[u8]) -> Option<String> {
    load(pem, None, Limits::default()).ok()?.certificates.first().map(|leaf| leaf.fingerprint().to_string())
}

/// Whether a name is one that the agent gives to folders: a directory may hold other things.
fn is_label(name: &str) -> bool {
    let bare = name.trim_end_matches('~');
    let (head, digest) = bare.rsplit_once('-').unwrap_or(("", ""));
    let digest = digest.len() == DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit());
    digest && (format!("{head}-") == ADOPTED || head.strip_prefix('v').is_some_and(|n| n.parse::<i64>().is_ok()))
}

#[cfg(test)]
mod tests;
