//! One command: connect, ask, show.

use clap::Args;
use pki::text::escape;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::command::{self, Command};
use crate::connection::{Connection, Environment};
use crate::error::{Error, Exit};
use crate::input::Keyboard;
use crate::remote::{MAX_PAGE, Remote, parse};
use crate::route::Route;
use crate::show::{Listed, Screen, Table};

/// What every command that talks to a server takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Common {
    /// Write JSON, one value per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    // Last: its heading stands over all that follows.
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// How much of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct Paging {
    /// Show so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    limit: u64,
    /// Show all of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Begin after this place, which an earlier call named
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
}

/// What marks a place in the first of two lists that are shown as one; no cursor has a dot.
const FIRST_LIST: &str = "plan.";

impl Paging {
    /// How many lines are wanted at most.
    pub(crate) fn wanted(&self) -> u64 {
        if self.all { u64::MAX } else { self.limit }
    }

    /// Where to begin.
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
}

impl Default for Paging {
    fn default() -> Paging {
        Paging { limit: 100, all: false, after: None }
    }
}

/// A command on its way.
pub(crate) struct Session<'s, 't> {
    pub(crate) remote: Remote,
    pub(crate) screen: &'s mut Screen<'t>,
    pub(crate) keyboard: &'s mut dyn Keyboard,
    pub(crate) json: bool,
}

/// Does what was asked: data and talk go to `screen`, and so does what went wrong.
pub fn run(command: Command, environment: Environment<'_>, screen: &mut Screen<'_>, keyboard: &mut dyn Keyboard) -> Exit {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Output)
        .and_then(|runtime| runtime.block_on(Box::pin(start(command, environment, screen, keyboard))));
    // What lies in a buffer is output too, and a full disk shows only here.
    let outcome = outcome.and_then(|exit| screen.out.flush().map(|()| exit).map_err(Error::Output));
    match outcome {
        Ok(exit) => exit,
        Err(error) => {
            if !error.is_silent() {
                // Nothing can be done about a standard error that is gone.
                let _ = screen.say(&format!("perennial: {error}"));
            }
            error.exit()
        }
    }
}

async fn start(
    command: Command,
    environment: Environment<'_>,
    screen: &mut Screen<'_>,
    keyboard: &mut dyn Keyboard,
) -> Result<Exit, Error> {
    let common = command.common();
    let json = common.json;
    let (remote, remarks) = Remote::connect(&common.connection, environment)?;
    for remark in remarks {
        screen.say(&format!("perennial: {remark}"))?;
    }
    Box::pin(command::run(command, &mut Session { remote, screen, keyboard, json })).await
}

impl Session<'_, '_> {
    /// Shows one answer: as it came, or by `show`.
    pub(crate) fn answer<T: DeserializeOwned>(
        &mut self,
        value: &Value,
        show: impl FnOnce(&T, &mut Screen<'_>) -> std::io::Result<()>,
    ) -> Result<T, Error> {
        let read: T = parse(value)?;
        if self.json {
            self.screen.data(&value.to_string())?;
        } else {
            show(&read, self.screen)?;
        }
        Ok(read)
    }

    /// Shows an answer that holds nothing: in words, or as it came.
    pub(crate) fn done(&mut self, value: &Value, words: &str) -> Result<Exit, Error> {
        if self.json {
            self.screen.data(&value.to_string())?;
        } else {
            self.screen.say(words)?;
        }
        Ok(Exit::Ok)
    }

    /// Asks, and shows the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        route: &Route,
        show: impl FnOnce(&T, &mut Screen<'_>) -> std::io::Result<()>,
    ) -> Result<T, Error> {
        let answer = self.remote.get(route).await?;
        self.answer(&answer, show)
    }

    /// Changes something, and shows what the server answers.
    pub(crate) async fn change<T: DeserializeOwned>(
        &mut self,
        route: &Route,
        body: &impl Serialize,
        show: impl FnOnce(&T, &mut Screen<'_>) -> std::io::Result<()>,
    ) -> Result<T, Error> {
        let answer = self.remote.post(route, body).await?;
        self.answer(&answer, show)
    }

    /// Changes something whose answer holds nothing, and says `words`.
    pub(crate) async fn act(&mut self, route: &Route, body: &impl Serialize, words: &str) -> Result<Exit, Error> {
        let answer = self.remote.post(route, body).await?;
        self.done(&answer, words)
    }

    /// Shows a list that has no pages.
    pub(crate) async fn short_list<T: Listed>(&mut self, route: &Route, nothing: &str) -> Result<Exit, Error> {
        let items: Vec<Value> = parse(&self.remote.get(route).await?)?;
        self.show_items::<T>(&items, nothing)?;
        Ok(Exit::Ok)
    }

    /// Shows a list, page by page. [`Exit::Due`] if anything that was shown is due.
    pub(crate) async fn list<T: Listed>(
        &mut self,
        route: &Route,
        paging: &Paging,
        nothing: &str,
        keep: impl Fn(&Value) -> bool,
    ) -> Result<Exit, Error> {
        let (items, next) = self.collect(route, paging, keep).await?;
        self.show_items::<T>(&items, if next.is_some() { "none of these" } else { nothing })?;
        self.tell_next(next.as_deref())?;
        let due = items.iter().map(parse::<T>).collect::<Result<Vec<T>, Error>>()?.iter().any(T::is_due);
        Ok(Exit::due(due))
    }

    /// Shows two lists as one, the second behind the first. [`Exit::Due`] if anything that was shown is due.
    pub(crate) async fn two_lists<T: Listed>(
        &mut self,
        first: Option<&Route>,
        second: &Route,
        paging: &Paging,
        nothing: &str,
    ) -> Result<Exit, Error> {
        let (mut items, mut next) = (Vec::new(), None);
        let mut rest = paging.clone();
        // A place in the first list is marked, so that it is not taken for one in the second.
        let begun = paging.after.as_deref().map(|after| after.strip_prefix(FIRST_LIST));
        if let (Some(first), None | Some(Some(_))) = (first, begun) {
            let paging = Paging { after: begun.flatten().filter(|after| !after.is_empty()).map(str::to_owned), ..paging.clone() };
            let more;
            (items, more) = self.collect(first, &paging, |_| true).await?;
            next = more.map(|place| format!("{FIRST_LIST}{place}"));
            rest = Paging { after: None, limit: paging.limit.saturating_sub(items.len() as u64), ..paging };
        }
        if next.is_none() && (rest.all || rest.limit > 0) {
            let (more, place) = self.collect(second, &rest, |_| true).await?;
            items.extend(more);
            next = place;
        }
        self.show_items::<T>(&items, if next.is_some() { "none of these" } else { nothing })?;
        self.tell_next(next.as_deref())?;
        let due = items.iter().map(parse::<T>).collect::<Result<Vec<T>, Error>>()?.iter().any(T::is_due);
        Ok(Exit::due(due))
    }

    /// The items of a list as far as they were asked for, and where it goes on.
    pub(crate) async fn collect(
        &self,
        route: &Route,
        paging: &Paging,
        keep: impl Fn(&Value) -> bool,
    ) -> Result<(Vec<Value>, Option<String>), Error> {
        let wanted = if paging.all { usize::MAX } else { usize::try_from(paging.limit).unwrap_or(usize::MAX) };
        let mut items = Vec::new();
        let mut after = paging.after.clone();
        loop {
            let page = self.remote.page(route, after.as_deref(), (wanted - items.len()).min(MAX_PAGE)).await?;
            let progress = page.next != after && !page.items.is_empty();
            items.extend(page.items.into_iter().filter(&keep));
            after = page.next;
            // A page that leads nowhere new would be asked for again and again.
            if after.is_none() || items.len() >= wanted || !progress {
                return Ok((items, after));
            }
        }
    }

    pub(crate) fn show_items<T: Listed>(&mut self, items: &[Value], nothing: &str) -> Result<(), Error> {
        if self.json {
            for item in items {
                self.screen.data(&item.to_string())?;
            }
            return Ok(());
        }
        let mut table = Table::new(T::COLUMNS);
        for item in items {
            table.add(parse::<T>(item)?.row(self.screen.now));
        }
        if table.is_empty() {
            self.screen.say(nothing)?;
        }
        self.screen.table(&table)?;
        Ok(())
    }

    pub(crate) fn tell_next(&mut self, next: Option<&str>) -> Result<(), Error> {
        if let Some(next) = next {
            self.screen.say(&format!("there are more: --all shows all, --after {} goes on from here", escape(next)))?;
        }
        Ok(())
    }
}
