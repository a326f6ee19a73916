//! Who else knows the time: the `Date` of web servers that the operator names, and the database server where it is another machine.

use crate::clock::Door;
use domain::Time;
use engine::Engine;
use outbound::{Answer, Client, Method, Request};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time};

/// How long one witness may take. Its answer is late by at most this, which must stay far below what two clocks may be apart.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a start waits for witnesses before the loops begin.
const AT_START: Duration = Duration::from_secs(3);
/// How often they are asked while the clock is believed …
const EVERY: Duration = Duration::from_secs(600);
/// … and how often the clock itself is looked at; while it is doubted they are asked as often.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// The witnesses of one server.
#[derive(Clone)]
pub(crate) struct Witnesses {
    urls: Arc<[String]>,
    client: Client,
    engine: Engine,
    door: Arc<Door>,
}

impl Witnesses {
    /// Witnesses at `urls`, besides the database.
    pub(crate) fn new(urls: &[String], client: Client, engine: Engine, door: Arc<Door>) -> Witnesses {
        Witnesses { urls: urls.into(), client, engine, door }
    }

    /// Asks before anything is decided; a witness that is slow must not keep a server from starting.
    pub(crate) async fn ask_at_start(&self) {
        if time::timeout(AT_START, self.ask()).await.is_err() {
            tracing::warn!("not every witness of the clock answered within {} s; they are asked again", AT_START.as_secs());
        }
    }

    /// Asks again and again.
    pub(crate) async fn go_on(self) {
        let mut asked = time::Instant::now();
        loop {
            time::sleep(LOOK_EVERY).await;
            if !self.door.tick().clock.is_believed() || asked.elapsed() >= EVERY {
                self.ask().await;
                asked = time::Instant::now();
            }
        }
    }

    async fn ask(&self) {
        let mut asking = JoinSet::new();
        for url in self.urls.iter() {
            let (client, door, url) = (self.client.clone(), self.door.clone(), url.clone());
            asking.spawn(async move {
                match date_of(&client, &url).await {
                    Ok(time) => door.witness(&url, time),
                    Err(detail) => tracing::warn!(witness = %url, %detail, "a witness of the clock did not say the time"),
                }
            });
        }
        let (engine, door) = (self.engine.clone(), self.door.clone());
        asking.spawn_blocking(move || match engine.store().read(store::meta::clock_of_server) {
            Ok(Some(time)) => door.witness("database", time),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the database did not say the time"),
        });
        while asking.join_next().await.is_some() {}
    }
}

/// The `Date` of an answer, whatever its status: an error page is dated as well.
async fn date_of(client: &Client, url: &str) -> Result<Time, String> {
    let mut request = Request::new(Method::HEAD, url);
    request.timeout = Some(PATIENCE);
    request.answer = Answer::Status;
    let response = client.send(request).await.map_err(|e| e.to_string())?;
    let date = response.headers.get("date").and_then(|v| v.to_str().ok()).ok_or("its answer has no Date")?;
    parse(date).ok_or_else(|| format!("its Date is {}, which is no date of RFC 9110", pki::text::escape(date)))
}

/// IMF-fixdate (RFC 9110 §5.6.7), the one form that may be sent: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse(text: &str) -> Option<Time> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let (day, month, year, clock, zone) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if zone != "GMT" || parts.next().is_some() || day.len() != 2 || year.len() != 4 {
        return None;
    }
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    Time::parse(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_web_servers_send_them() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse(text).map(Time::unix), expected, "{text}");
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800));
        check("Thu, 30 Feb 2024 00:00:00 GMT", None);
        check("Sun, 06 Nov 1994 08:49:37 CET", None);
        check("Sunday, 06-Nov-94 08:49:37 GMT", None);
        check("Sun Nov  6 08:49:37 1994", None);
        check("Sun, 6 Nov 1994 08:49:37 GMT", None);
        check("Sun, 06 Nov 1994 25:49:37 GMT", None);
        check("Sun, 06 Nov 1994 08:49:37 GMT GMT", None);
        check("", None);
    }
}
