//! What a clock that was ahead has left behind: moments that lie in the future although they have happened. Whoever waits for such
//! a moment to pass, so that it may remind, look or sweep again, would wait for years.

use domain::Time;

use crate::{Result, Tx, timer};

/// What has happened, by table. Dates that somebody chose (expiries, due dates, drains) are not among them, nor is the journal: that
/// says what the clock said.
const HAPPENED: [(&str, &[&str]); 36] = [
    ("address", &["first_seen", "left_at"]),
    ("chain", &["kept_at"]),
    ("concern", &["told_at", "gone_at"]),
    ("corrective_action", &["told_at", "done_at"]),
    ("drill", &["declared_at"]),
    ("drill_fault", &["since", "put_back_at"]),
    ("drill_run", &["started_at", "issued_at", "fault_at", "noticed_at", "lifted_at", "ended_at"]),
    ("forecast", &["first_at", "assessed_at"]),
    ("hand_request", &["done_at"]),
    ("incident", &["opened_at", "acknowledged_at", "mitigated_at", "ended_at", "told_at", "reviewed_at"]),
    ("incident_line", &["opened_at", "closed_at"]),
    ("intent", &["done_at"]),
    ("issued", &["intended_at", "done_at"]),
    ("issuer_state", &["failed_at"]),
    ("join_token", &["ended_at"]),
    ("leaked_key", &["at"]),
    ("lease", &["held_until"]),
    ("node", &["declared_at", "retired_at", "changed_at", "joined_at", "revoked_at", "instance_at", "cloned_at", "seen_at", "reported_at"]),
    ("node_certificate", &["used_at", "ended_at"]),
    ("node_secret", &["desired_at", "told_at", "fetched_at", "installed_at", "failed_at"]),
    ("notice", &["at", "ended_at"]),
    ("observation", &["last_at", "good_at", "streak_since", "failing_since"]),
    ("outbox", &["created_at", "due_at", "done_at"]),
    ("release", &["built_at", "deployed_at", "observed_at", "ended_at", "assessed_at"]),
    ("release_item", &["added_at", "observed_at"]),
    ("release_stage", &["changed_at"]),
    ("revocation", &["ended_at", "withdrawn_at"]),
    ("revocation_secret", &["done_at", "asked_at"]),
    ("rollout", &["begun_at", "ended_at", "halted_at", "wave_at", "decided_at"]),
    ("rollout_target", &["begun_at", "observed_at", "quarantined_at", "excused_at"]),
    ("secret", &["declared_at", "attested_at", "assessed_at", "retired_at"]),
    ("server_root", &["seen_at"]),
    ("signing_order", &["placed_at", "tried_at", "done_at"]),
    ("sweep", &["started_at", "finished_at"]),
    ("target", &["declared_at", "observed_at", "claimed_at", "retired_at"]),
    ("vantage", &["seen_at"]),
];

/// Puts what lies after `now` although it has happened at `now`, and makes everything due. Says how many rows were changed.
///
/// # Errors
/// Whatever the database refuses.
pub fn bring_back(tx: &mut Tx<'_>, now: Time) -> Result<u64> {
    // Quiet for as long as was agreed, counted from now. Before the moment it was agreed at is lost.
    let mut changed = tx.execute(
        "UPDATE incident SET quiet_until = quiet_until - (acknowledged_at - CAST($1 AS BIGINT))
         WHERE acknowledged_at > $1 AND quiet_until IS NOT NULL",
        &[now.into()],
    )?;
    for (table, columns) in HAPPENED {
        for column in columns {
            changed += tx.execute(&format!("UPDATE {table} SET {column} = $1 WHERE {column} > $1"), &[now.into()])?;
        }
    }
    changed += super::target::bring_back(tx, now)? + super::observation::bring_back(tx, now)?;
    timer::wake_everything(tx, now)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dates that somebody chose or that a certificate says, and moments that nobody waits for.
    const CHOSEN: [&str; 19] = [
        "retired_at", // of what is only named: teams, services, regions, stamps, vantages, roots, policies
        "expires_at",
        "attested_at",
        "margin_at",
        "stored_at",
        "created_at",
        "revoked_at",
        "used_at",
        "reviewed_at",
        "due_at", // of a corrective action
        "drained_until",
        "baseline_until",
        "assessed_at",
        "earliest_at",
        "planned_at",
        "first_planned_at",
        "breaks_at",
        "deadline_at",
        "next_at", // everything is made due
    ];

    #[test]
    fn every_moment_of_the_schema_was_thought_of() {
        let mut table = "";
        let schema = concat!(
            include_str!("../../migrations/0002_model.sql"),
            include_str!("../../migrations/0003_plan.sql"),
            include_str!("../../migrations/0004_issuing.sql"),
            include_str!("../../migrations/0005_nodes.sql"),
            include_str!("../../migrations/0006_rollout.sql"),
            include_str!("../../migrations/0007_drill.sql"),
        );
        for line in schema.lines() {
            if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
                table = rest.split(' ').next().unwrap_or_default();
            }
            let column = line.trim().split(' ').next().unwrap_or_default();
            let brought_back = HAPPENED.iter().any(|(t, columns)| *t == table && columns.contains(&column));
            assert!(
                !column.ends_with("_at") || brought_back || CHOSEN.contains(&column),
                "{table}.{column} is neither brought back nor known as a date that somebody chose"
            );
        }
    }
}
