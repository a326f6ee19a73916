//! Putting declared drills in place.

use super::{Apply, word};
use crate::{Result, loops};
use api::fleet::Fleet;
use store::{
    Tx,
    model::{drill, inventory::DRILL},
};

impl Apply<'_> {
    pub(super) fn drills(&mut self, tx: &mut Tx<'_>, fleet: &Fleet) -> Result<()> {
        let name = |n: &Option<String>| n.clone().unwrap_or_default();
        let drills = fleet.drills.iter().map(|d| {
            let values = vec![
                (&d.secret).into(),
                word(&d.kind).into(),
                d.every.as_secs().into(),
                d.within.as_secs().into(),
                name(&d.team).into(),
                name(&d.node).into(),
                name(&d.region).into(),
            ];
            (d.name.clone(), values)
        });
        self.table(tx, DRILL, drills.collect())?;
        if self.writes && self.changes.iter().any(|c| c.kind == DRILL.kind && c.what != "left-over") {
            drill::date(tx, self.now)?;
            drill::wake_all(tx, loops::DRILL, self.now)?;
        }
        Ok(())
    }
}
