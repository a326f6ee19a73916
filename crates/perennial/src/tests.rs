#![allow(clippy::unwrap_used)]

use super::*;
use clap::CommandFactory;
use insta::assert_snapshot;

#[test]
fn protocols_have_the_same_names_in_a_fleet_and_on_the_wire() {
    let declared = api::fleet::Protocol::ALL.map(|(_, name)| name);
    let dialled = probe::Protocol::ALL.map(probe::Protocol::as_str);
    assert_eq!(declared, dialled);
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn what_the_demo_tells_people_to_type_can_be_typed() {
    for line in demo::TYPED {
        let parsed = Arguments::command().try_get_matches_from(line.split(' ').chain(["folder"]));
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

#[test]
fn every_root_cause_of_the_rules_can_be_named() {
    let known: Vec<&str> = domain::incident::RootCause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert_eq!(client::ROOT_CAUSES[..], known);
}

/// The long help of a command such as "cert import", at a fixed width.
fn help(path: &str) -> String {
    let mut command = examples::add(Arguments::command()).term_width(100);
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
    // What only gathers commands has it in each of them.
    fn knows_json(command: &clap::Command) -> bool {
        let mut below = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
        command.get_arguments().any(|arg| arg.get_id() == "json") || below.peek().is_some() && below.all(knows_json)
    }
    let mut without = Vec::new();
    for sub in Arguments::command().get_subcommands() {
        // A vantage shows no data; the others run on this machine.
        let shows_data = !["vantage", "server", "demo", "restore", "help"].contains(&sub.get_name());
        if shows_data && !knows_json(sub) {
            without.push(sub.get_name().to_owned());
        }
    }
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn help_of_the_program() {
    let help = help("");
    // The list of commands grows; the exit status is a promise.
    assert_snapshot!(help.split_once("Exit status:").unwrap().1, @r#"

      0  it was done, and nothing is due
      1  something is due or broken, or the server refused
      2  the call itself was wrong
      3  release scan: this build carries certificates and will miss a deadline
      4  the server did not answer

    Data goes to standard output, talk to standard error. With --json each line is one JSON value.
    "#);
}

#[test]
fn help_of_apply() {
    assert_snapshot!(help("apply"), @r#"
    Put the inventory in place that a file declares

    Applying the same file twice changes nothing the second time. Nothing is removed without --prune,
    and what is pruned is retired, not forgotten.

    Usage: perennial apply [OPTIONS] --file <FILE>

    Options:
      -f, --file <FILE>
              The fleet file; - is standard input

          --dry-run
              Say what would change, and change nothing

          --prune
              Retire what the file no longer names

          --plan <HASH>
              Only if the changes are those that an earlier --dry-run named by this hash

          --json
              Write JSON, one value per line

      -h, --help
              Print help (see a summary with '-h')

    Connection:
          --server <URL>
              The server's URL [env: PERENNIAL_SERVER]

          --token-file <F>
              A file that holds the token; the token itself may be in PERENNIAL_TOKEN

          --ca <F>
              Roots that the server's certificate must lead to, PEM [env: PERENNIAL_CA]

          --data <DIR>
              The data directory of a server on this machine, instead of all the above [env:
              PERENNIAL_DATA]

    Examples:
      perennial apply -f fleet.toml --dry-run       what would change, and the hash of that plan
      perennial apply -f fleet.toml --data ./store
      perennial apply -f fleet.toml --prune --plan 5c0e…   exactly what was looked at, or nothing
    "#);
}

#[test]
fn help_of_cert_import() {
    assert_snapshot!(help("cert import"), @r#"
    Store a new version of a certificate, with all its instances

    Before anything is stored the server checks that the key fits, the chain is whole and in order, and
    the names cover the targets, and compares it with the version before. Changes beyond key, serial and
    dates need --accept-change.

    Usage: perennial cert import [OPTIONS] <--chain <F>|--p12 <F>|--bulk <FILE>> [NAME]

    Arguments:
      [NAME]
              The secret's name

    Options:
          --chain <F>
              The certificate and what is above it: PEM or DER, leaf first

          --key <F>
              Its private key: PEM or DER; not needed where the key stays elsewhere

          --p12 <F>
              Certificate, chain and key in one PKCS#12 file

          --password-file <F>
              The password of the PKCS#12 file is this file's first line; otherwise it is asked for

          --scope <SCOPE>
              Where this instance belongs: all, a region, or a node

              [default: all]

          --more <PARTS>
              A further instance of the same version: scope=S,chain=F,key=F or
              scope=S,p12=F,password-file=F

          --roots <F>
              Private roots that the chain must lead to, PEM

          --accept-change
              Accept changes beyond key, serial and dates

          --reason <TEXT>
              Why

          --dry-run
              Check everything, and store nothing

          --json
              Write JSON, one value per line

          --bulk <FILE>
              Import many: one JSON object per line with name, chain_pem and key_pem; - is standard
              input

          --from-line <N>
              With --bulk: go on from this line

              [default: 1]

      -h, --help
              Print help (see a summary with '-h')

    Connection:
          --server <URL>
              The server's URL [env: PERENNIAL_SERVER]

          --token-file <F>
              A file that holds the token; the token itself may be in PERENNIAL_TOKEN

          --ca <F>
              Roots that the server's certificate must lead to, PEM [env: PERENNIAL_CA]

          --data <DIR>
              The data directory of a server on this machine, instead of all the above [env:
              PERENNIAL_DATA]

    Examples:
      perennial cert import www --chain chain.pem --key key.pem --reason "yearly renewal"
      perennial cert import www --p12 www.p12 --password-file pw --dry-run
      perennial cert import www --chain rsa.pem --key rsa.key --more chain=ecdsa.pem,key=ecdsa.key
      perennial cert import --bulk many.ndjson
    "#);
}

#[test]
fn help_of_incident_review() {
    assert_snapshot!(help("incident review"), @r#"
    Write down why it happened, and what will be done

    Usage: perennial incident review [OPTIONS] --cause <CAUSE> <--text <TEXT>|--text-file <F>> <ID>

    Arguments:
      <ID>
              Its number

    Options:
          --cause <CAUSE>
              The root cause

              [possible values: release-delayed, renewed-not-deployed, renewed-not-reloaded,
              renewal-failed, not-renewed, never-tracked, alert-misrouted, chain-expiry, baked-in,
              date-arithmetic, revocation, wrong-content, relying-party, validator-change, clock, other]

          --own-cause <TEXT>
              Own words for the cause; needed for "other"

          --text <TEXT>
              What happened

          --text-file <F>
              What happened, from a file

          --action <WHAT;OWNER;DUE>
              What will be done, by which team, until when: "what;team;2027-03-01"

          --json
              Write JSON, one value per line

      -h, --help
              Print help

    Connection:
          --server <URL>
              The server's URL [env: PERENNIAL_SERVER]

          --token-file <F>
              A file that holds the token; the token itself may be in PERENNIAL_TOKEN

          --ca <F>
              Roots that the server's certificate must lead to, PEM [env: PERENNIAL_CA]

          --data <DIR>
              The data directory of a server on this machine, instead of all the above [env:
              PERENNIAL_DATA]

    Examples:
      perennial incident review 7 --cause release-delayed --text "nobody had flagged the release"
      --action "flag releases;web;2027-03-01"
    "#);
}

#[test]
fn help_of_vantage() {
    assert_snapshot!(help("vantage"), @r#"
    Look at targets from here, on behalf of a server

    Runs until it is stopped. It needs a token of role vantage, and nothing else than that one server
    and the targets.

    Usage: perennial vantage [OPTIONS] --name <NAME>

    Options:
          --name <NAME>
              The vantage's name, as the fleet file declares it

          --once
              Ask once, report, and end

      -h, --help
              Print help (see a summary with '-h')

    Connection:
          --server <URL>
              The server's URL [env: PERENNIAL_SERVER]

          --token-file <F>
              A file that holds the token; the token itself may be in PERENNIAL_TOKEN

          --ca <F>
              Roots that the server's certificate must lead to, PEM [env: PERENNIAL_CA]

          --data <DIR>
              The data directory of a server on this machine, instead of all the above [env:
              PERENNIAL_DATA]

    Examples:
      perennial vantage --name eu --server https://store.example.com:7443 --ca ca.pem --token-file
      eu.token
    "#);
}
