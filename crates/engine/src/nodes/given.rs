//! Who is told that a key goes to more machines. Whoever may change the inventory can name a machine of its own and have keys sent there;
//! no rule can tell that from what is meant. So the owner of a secret hears of it, and the secret's journal says so.

use crate::{
    Result,
    assess::team_of,
    concern::PLAN,
    message::{Kind, Message},
    tell,
};
use domain::{issuing::KeysAt, words::SecretId};
use serde_json::json;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{issuance, node, notice, secret},
};

/// The code of the notice; no finding stands, since a person decided it.
pub const GIVEN: &str = "key-given";
/// How many nodes are named.
const NAMED: usize = 20;

/// Nodes are to have a secret from now on. Where its key lies in the store already, it will be sent to them: the owner hears of it at once.
pub(crate) fn given(tx: &mut Tx<'_>, id: SecretId, nodes: &[String], actor: &Actor, now: domain::Time) -> Result<()> {
    let Some(s) = secret::get(tx, id)?.filter(|s| s.newest_version > 0) else { return Ok(()) };
    if !is_sent(tx, id)? {
        return Ok(());
    }
    let named = super::assess::some(nodes, NAMED);
    let body = json!({ "nodes": nodes.iter().take(NAMED).collect::<Vec<_>>(), "count": nodes.len() });
    tx.journal(Entry::new("secret.given", format!("secret/{}", s.name), "", &body))?;
    let team = team_of(tx, "", "", Some(&s))?;
    let name = pki::text::escape(&s.name);
    let detail = format!(
        "{name}: {} declared that {named} {} to have it; its private key is sent to whoever joins under such a name",
        pki::text::escape(&actor.subject),
        if nodes.len() == 1 { "is" } else { "are" },
    );
    let message = Message {
        teams: vec![team.clone()],
        code: GIVEN.into(),
        secret: Some(name.clone()),
        next_step: format!(
            "if nobody of you expects this, ask whoever did it, and have {name} taken out of the node's secrets; if the node has joined \
             by then, the key is out: replace the certificate"
        ),
        ..Message::new(Kind::Notice, format!("{}/notice/{name}/{GIVEN}", tell::prefix(tx)?), detail.clone(), now)
    };
    tell::send(tx, &team, &message, now)?;
    let row = notice::Notice {
        id: tx.next_id("notice")?,
        secret: PLAN,
        key: format!("secret/{}/{GIVEN}", s.name),
        code: GIVEN.into(),
        rung: None,
        again: false,
        team,
        at: now,
        until: None,
        detail,
        // Nothing stands; this row says that somebody was told.
        ended_at: Some(now),
    };
    Ok(notice::insert(tx, &row)?)
}

/// A node joined: the journal of each secret whose key it can ask for from now on says so.
pub(super) fn joined(tx: &mut Tx<'_>, n: &node::Node) -> Result<()> {
    for i in node::installs(tx, n.id)? {
        let Some(s) = secret::get(tx, i.secret)? else { continue };
        if is_sent(tx, s.id)? {
            let body = json!({ "node": n.name, "key": n.key.map(|k| k.to_string()) });
            tx.journal(Entry::new("secret.node-joined", format!("secret/{}", s.name), super::subject(&n.name), &body))?;
        }
    }
    Ok(())
}

/// Whether its keys are kept in the store, and sent.
fn is_sent(tx: &mut Tx<'_>, id: SecretId) -> Result<bool> {
    Ok(issuance::get(tx, id)?.is_none_or(|i| i.keys == KeysAt::Store))
}
