//! What production hangs on besides its certificates, counted.

use super::{list, target::PRODUCTION};
use crate::{Result, Tx};
use domain::spof::{Alike, Under};

/// The service of a target: its own, or its secret's.
const SERVICE: &str = "CASE WHEN t.service <> '' THEN t.service ELSE COALESCE(s.service, '') END";

/// Production in groups that are alike in everything but their certificates.
///
/// # Errors
/// Whatever the database refuses.
pub fn alike(tx: &mut Tx<'_>) -> Result<Vec<Alike>> {
    // Columns of the secret are those of one row or of none.
    let sql = format!(
        "SELECT {SERVICE} AS a, t.region AS b, CASE WHEN t.team <> '' THEN t.team ELSE COALESCE(s.owner, '') END AS c, t.vantages AS d, \
         t.optional_vantages AS e, COALESCE(s.validation, '') AS f, COALESCE(s.dns_provider, '') AS g, count(*) \
         FROM (SELECT * FROM target WHERE {PRODUCTION} AND retired_at IS NULL) AS t LEFT JOIN secret s ON s.id = t.secret_id \
         GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7"
    );
    tx.query(&sql, &[])?
        .iter()
        .map(|r| {
            let vantages = list(r.text(3)?)?.into_iter().chain(list(r.text(4)?)?).collect();
            Ok(Alike {
                service: r.text(0)?.into(),
                region: r.text(1)?.into(),
                team: r.text(2)?.into(),
                vantages,
                validation: r.text(5)?.into(),
                dns_provider: r.text(6)?.into(),
                targets: r.int(7)? as u64,
            })
        })
        .collect()
}

/// Production by what it was observed to hang on. A target that may answer with several paths counts once, with that seen last.
///
/// # Errors
/// Whatever the database refuses.
pub fn under(tx: &mut Tx<'_>) -> Result<Vec<Under>> {
    let sql = format!(
        "SELECT {SERVICE} AS a, COALESCE(p.issuer_name, '') AS b, COALESCE(p.root_name, '') AS c, count(*) \
         FROM (SELECT id, service, secret_id FROM target WHERE {PRODUCTION} AND retired_at IS NULL) AS t \
         LEFT JOIN secret s ON s.id = t.secret_id \
         LEFT JOIN path p ON p.id = (SELECT max(path_id) FROM target_path WHERE target_id = t.id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    tx.query(&sql, &[])?
        .iter()
        .map(|r| Ok(Under { service: r.text(0)?.into(), issuer: r.text(1)?.into(), root: r.text(2)?.into(), targets: r.int(3)? as u64 }))
        .collect()
}
