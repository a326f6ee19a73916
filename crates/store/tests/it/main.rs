//! The conformance suite: one list of tests, run on SQLite and on PostgreSQL.
//!
//! PostgreSQL runs when `PERENNIAL_TEST_POSTGRES` is the URL of a server on which databases may be created; `scripts/test` starts
//! one. Without it every test of the list is reported as skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod disk;
mod drills;
mod forecast;
mod harness;
mod issuing;
mod journal;
mod kill;
mod leases;
mod model;
mod nodes;
mod open;
mod paths;
mod peers;
mod planned;
mod releases;
mod rollouts;
mod timers;
mod transactions;

/// Makes a test of every function for both databases.
macro_rules! conformance {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { crate::$module::$test(&crate::harness::Database::sqlite()); })*
        }
        mod postgres {
            $(#[test] fn $test() {
                if let Some(database) = crate::harness::Database::postgres(stringify!($test)) {
                    crate::$module::$test(&database);
                }
            })*
        }
    };
}

conformance![
    planned::plans_come_back_and_keep_their_numbers,
    open::identity_is_drawn_once,
    open::many_may_create_one_database,
    open::a_newer_schema_is_refused,
    open::a_schema_that_was_altered_is_refused,
    open::the_high_water_mark_only_rises,
    transactions::values_come_back_as_they_were,
    transactions::parameters_go_by_number,
    transactions::aggregates_are_integers,
    transactions::text_is_ordered_by_its_bytes,
    transactions::big_blobs_are_kept,
    transactions::an_error_rolls_back,
    transactions::a_panic_rolls_back,
    transactions::a_failed_statement_dooms_its_transaction,
    transactions::a_broken_rule_is_named,
    transactions::a_reader_cannot_write,
    transactions::a_reader_sees_one_moment,
    transactions::writers_serialise_on_the_row_of_their_subject,
    transactions::ids_are_unique_and_rise,
    transactions::who_takes_an_id_keeps_nobody_waiting,
    transactions::who_waits_for_a_turn_sees_what_was_done_before,
    transactions::a_deadlock_is_tried_again,
    transactions::a_long_result_is_streamed_and_may_be_left,
    journal::entries_carry_who_when_what_and_why,
    journal::a_rollback_leaves_no_entry,
    journal::concurrent_writers_make_one_chain,
    journal::every_kind_of_tampering_is_found,
    journal::an_older_backup_is_found_and_a_declared_restore_is_not_blamed,
    leases::one_holder_at_a_time_and_fences_grow,
    leases::two_processes_never_hold_together,
    timers::a_subject_is_claimed_once,
    timers::a_wake_up_during_work_is_not_lost,
    timers::a_claim_that_ran_out_changes_nothing,
    timers::a_plan_forgets_no_wake_up,
    timers::a_holder_that_keeps_no_claim_loses_no_wake_up,
    timers::the_longest_due_comes_first,
    model::a_fingerprint_is_found_whole,
    model::sums_are_kept,
    model::lines_are_counted_as_they_open_and_close,
    model::what_was_told_and_what_is_old,
    model::ends_are_summed_by_certificate,
    paths::a_path_is_kept_once_and_let_go_when_nobody_names_it,
    paths::production_as_columns_in_whole_and_for_one_service,
    releases::a_release_comes_back_as_it_was,
    releases::the_queue_has_the_undated_first_and_what_carries_nothing_last,
    releases::what_is_carried_is_what_production_still_waits_for,
    releases::lead_samples_are_the_newest,
    forecast::the_first_of_each_region_and_all_in_order,
    forecast::what_was_said_comes_back,
    forecast::what_is_on_its_way,
    forecast::what_hangs_on_the_same_is_counted_together,
    nodes::a_node_comes_back_as_it_was,
    nodes::what_nodes_are_to_have_and_say,
    nodes::who_may_speak_for_a_node,
    drills::a_run_comes_back_as_it_was,
    drills::the_past_of_a_drill_is_counted_from_its_declaration,
    drills::what_a_rotation_reached_and_what_is_made_to_fail,
    issuing::what_is_declared_comes_back_and_windows_are_read,
    issuing::what_is_intended_is_signed_once_and_revoked_once,
    issuing::orders_and_requests_come_back_and_held_keys_move_with_the_kek,
    issuing::what_nobody_can_ask_about_any_more_goes,
    rollouts::a_rollout_comes_back_as_it_was,
    rollouts::what_became_of_each_target,
    rollouts::what_must_be_replaced_and_what_became_of_it,
    kill::nothing_answered_is_lost,
];
