//! What signs for agents: the authority of the certificates that they live on, and the key of manifests. Both keys lie in the vault and are
//! opened for one use at a time.

use crate::{
    Engine, Error, Result, Tick,
    held::hold,
    ports::Entropy,
    vault::{AGENT_CA_KEY, MANIFEST_KEY},
};
use domain::{Span, Time, words::NodeId};
use pki::{
    Certificate, KeyType, PrivateKey,
    csr::{self, Checked, Csr, Rules},
    issue::{AuthorityTemplate, Constraints, Issuer, Names, Profile, Template},
};
use serde_json::json;
use std::collections::BTreeSet;
use store::{Actor, Tx, journal::Entry, meta, model::identity};
use zeroize::Zeroizing;

/// How long a certificate lives that an agent lives on. It renews it when a third is left.
pub const IDENTITY: Span = Span::days(30);
/// How far back it begins: a node's clock may be behind by less than makes a finding, and then some.
const BACKDATED: Span = Span::hours(1);
/// How long their authority lives. Nobody verifies by it: an agent is who the database says.
const AUTHORITY: Span = Span::days(3650);

/// A certificate for an agent, and what is remembered of it.
pub(super) struct Certified {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) row: identity::Certificate,
}

/// The authority of agents, opened for a use.
pub(super) struct AgentAuthority {
    issuer: Issuer,
    store_id: String,
    epoch: i64,
}

impl Engine {
    /// The authority of agents, opened; made on the first need, with the key of manifests.
    ///
    /// # Errors
    /// The store is sealed, or its key was rotated by somebody else.
    pub(super) fn agent_authority(&self, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<AgentAuthority> {
        let read = |purpose| self.store.read(|tx| identity::authority(tx, purpose));
        if read(AGENT_CA_KEY)?.is_none() || read(MANIFEST_KEY)?.is_none() {
            self.make_node_authorities(random, actor, tick)?;
        }
        let Some(found) = read(AGENT_CA_KEY)? else { return Err(Error::Sealed) };
        let key = self.open_held(found.held)?;
        let certificate = Certificate::parse(found.certificate).map_err(|e| damaged(&e))?;
        let issuer = Issuer::new(certificate, &key).map_err(|e| damaged(&e))?;
        let life = self.store.read(meta::identity)?;
        Ok(AgentAuthority { issuer, store_id: life.store_id, epoch: life.epoch })
    }

    /// The key that signs manifests, opened.
    ///
    /// # Errors
    /// The store is sealed, or no node has joined yet.
    pub(super) fn manifest_key(&self) -> Result<PrivateKey> {
        let found = self.store.read(|tx| identity::authority(tx, MANIFEST_KEY))?;
        self.open_held(found.ok_or_else(|| Error::not_found("key of manifests", "yet"))?.held)
    }

    fn make_node_authorities(&self, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<()> {
        let life = self.store.read(meta::identity)?;
        let authority = PrivateKey::generate(KeyType::EcdsaP256).map_err(|e| Error::Outside(e.to_string()))?;
        let name = format!("Perennial agents {}", life.store_id.get(..8).unwrap_or(&life.store_id));
        let template = AuthorityTemplate {
            common_name: &name,
            organization: None,
            not_before: tick.now - BACKDATED,
            not_after: tick.now + AUTHORITY,
            serial: serial(random)?,
            path_length: Some(0),
            constraints: &Constraints::default(),
            crl: None,
        };
        let certificate = pki::issue::root(&authority, &template).map_err(|e| Error::Outside(e.to_string()))?;
        let manifests = draw_manifest_key(random)?;
        self.store.try_write(actor, tick.now, |tx| {
            let sealer = self.sealer(tx)?;
            // Two servers may find that there is none at the same moment; one makes it.
            tx.turn("node authorities")?;
            for (purpose, key, der) in [(AGENT_CA_KEY, &authority, certificate.der()), (MANIFEST_KEY, &manifests, &[][..])] {
                if identity::authority(tx, purpose)?.is_some() {
                    continue;
                }
                let held = hold(tx, &sealer, purpose, 0, key, random, tick.now)?;
                let row = identity::Authority { purpose: purpose.into(), held, spki: key.spki_der().to_vec(), certificate: der.to_vec() };
                identity::put_authority(tx, &row)?;
                let body = json!({ "purpose": purpose, "key": key.spki_fingerprint().to_string() });
                tx.journal(Entry::new("node.authority", "store", "", &body))?;
            }
            Ok(())
        })
    }
}

impl AgentAuthority {
    /// Certifies an agent's key. What its request says besides the key is not believed.
    pub(super) fn certify(&self, node: NodeId, name: &str, request: &Proven, random: &mut Entropy<'_>, now: Time) -> Result<Certified> {
        let uri = pki::San::uri(&self.uri(node, name)).map_err(|e| damaged(&e))?;
        let checked = request.checked(&[uri], &[self.issuer.certificate().spki_fingerprint()])?;
        let template = Template {
            profile: Profile::Client,
            names: Names::Permitted,
            common_name: false,
            not_before: now - BACKDATED,
            not_after: now + IDENTITY,
            serial: serial(random)?,
            crl: None,
            policies: &[],
        };
        let refuse = |e: pki::issue::IssueError| Error::Outside(e.to_string());
        let linted = self.issuer.prepare(&checked, &template).and_then(|p| self.issuer.rehearse(p)).map_err(refuse)?;
        let certificate = self.issuer.sign(&linted).map_err(refuse)?;
        let row = identity::Certificate {
            fingerprint: certificate.fingerprint(),
            node,
            key: certificate.spki_fingerprint(),
            serial: certificate.serial(),
            epoch: self.epoch,
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            used_at: None,
            ended: None,
        };
        let authority = self.issuer.certificate().der().to_vec();
        Ok(Certified { chain: vec![certificate.der().to_vec(), authority], row })
    }

    /// A name for people and logs. A path of SPIFFE has fewer characters than a name of ours, so the number stands for the node.
    fn uri(&self, node: NodeId, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let readable: String = name.chars().map(plain).collect();
        // `.` and `..` are no segments (SPIFFE-ID §2.2).
        format!("spiffe://perennial/{}/node/{node}/{}", self.store_id, readable.trim_matches('.'))
    }
}

/// A new key for manifests.
pub(super) fn draw_manifest_key(random: &mut Entropy<'_>) -> Result<PrivateKey> {
    let mut seed = Zeroizing::new([0; pki::detached::SEED_BYTES]);
    random(&mut *seed);
    if *seed == [0; pki::detached::SEED_BYTES] {
        return Err(Error::Outside(String::from("no random bytes came from the system")));
    }
    pki::detached::generate(&seed).map_err(|e| Error::Outside(e.to_string()))
}

/// A request whose sender holds its key.
pub(super) struct Proven {
    csr: Csr,
    key: pki::Fingerprint,
}

impl Proven {
    /// Reads a request in base64 and verifies that it was made by the key in it.
    pub(super) fn read(text: &[u8]) -> Result<Proven> {
        let csr = Csr::parse(text).map_err(|e| Error::refused("bad-csr", e.to_string()))?;
        let key = csr.spki_fingerprint();
        let proven = Proven { csr, key };
        proven.checked(&[], &[])?;
        Ok(proven)
    }

    /// SHA-256 of its public key.
    pub(super) fn key(&self) -> pki::Fingerprint {
        self.key
    }

    fn checked(&self, permitted: &[pki::San], issuer_keys: &[pki::Fingerprint]) -> Result<Checked> {
        let none = BTreeSet::new();
        let rules = Rules { permitted, common_names: &[], issuer_keys, known_keys: Some(&none), key_type: None };
        csr::check(&self.csr, &rules).map_err(|problems| {
            let problems = problems.into_iter().map(|p| p.detail).collect();
            Error::Refused(crate::Refusal { code: "bad-csr", problems })
        })
    }
}

fn serial(random: &mut Entropy<'_>) -> Result<[u8; 16]> {
    let mut serial = [0; 16];
    random(&mut serial);
    // RFC 5280 §4.1.2.2: positive.
    serial[0] &= 0x7f;
    if serial == [0; 16] {
        return Err(Error::Outside(String::from("no random bytes came from the system")));
    }
    Ok(serial)
}

fn damaged(e: &dyn std::fmt::Display) -> Error {
    Error::refused("damaged", format!("the authority of agents cannot be used: {e}; restore a backup"))
}

/// The public half of the key that signs manifests, where there is one (SubjectPublicKeyInfo, DER).
pub(super) fn manifest_spki(tx: &mut Tx<'_>) -> Result<Vec<u8>> {
    Ok(identity::authority(tx, MANIFEST_KEY)?.map(|a| a.spki).unwrap_or_default())
}
