#![allow(clippy::unwrap_used)]

use super::*;
use clap::CommandFactory;
use insta::assert_snapshot;

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_root_cause_of_the_rules_can_be_named() {
    let known: Vec<&str> = domain::incident::RootCause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert_eq!(client::ROOT_CAUSES[..], known);
}

/// The long help of a command such as "cert import", at a fixed width.
fn help(path: &str) -> String {
    let mut command = Arguments::command().term_width(100);
    command.build();
    let mut here = &mut command;
    for name in path.split_whitespace() {
        here = here.find_subcommand_mut(name).unwrap();
    }
    let help = here.clone().term_width(100).render_long_help().to_string();
    help.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn every_command_explains_itself() {
    fn walk(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            if sub.get_about().is_none() {
                silent.push(path.clone());
            }
            for arg in sub.get_arguments().filter(|arg| arg.get_help().is_none() && !arg.is_hide_set()) {
                silent.push(format!("{path} {}", arg.get_id()));
            }
            walk(sub, &path, silent);
        }
    }
    let mut silent = Vec::new();
    walk(&Arguments::command(), "perennial", &mut silent);
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn every_command_of_the_server_knows_json() {
    let mut without = Vec::new();
    for sub in Arguments::command().get_subcommands() {
        // A vantage shows no data; the others run on this machine.
        let shows_data = !["vantage", "server", "demo", "restore", "help"].contains(&sub.get_name());
        if shows_data && !sub.get_arguments().any(|arg| arg.get_id() == "json") {
            without.push(sub.get_name().to_owned());
        }
    }
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn help_of_the_program() {
    let help = help("");
    // The list of commands grows; the exit status is a promise.
    assert_snapshot!(help.split_once("Exit status:").unwrap().1, @"");
}

#[test]
fn help_of_apply() {
    assert_snapshot!(help("apply"), @"");
}

#[test]
fn help_of_cert_import() {
    assert_snapshot!(help("cert import"), @"");
}

#[test]
fn help_of_incident_review() {
    assert_snapshot!(help("incident review"), @"");
}

#[test]
fn help_of_vantage() {
    assert_snapshot!(help("vantage"), @"");
}
