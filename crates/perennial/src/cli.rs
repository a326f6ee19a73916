//! The operator's commands, on this terminal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use client::{Screen, Terminal};

use crate::clock;

/// Does what was asked of a server.
pub(crate) fn run(command: client::Command) -> ExitCode {
    let (mut out, mut talk) = (io::stdout().lock(), io::stderr());
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let progress = talk.is_terminal();
    let mut screen = Screen { out: &mut out, talk: &mut talk, colours, progress, now: clock::now() };
    client::run(command, &variable, &mut screen, &mut Terminal).into()
}

/// An environment variable; one that is no text counts as absent.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
