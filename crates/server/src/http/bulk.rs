//! `POST /v1/bulk`: a stream of lines, each one import. Lines are taken in chunks; while one chunk is stored, the next one is
//! checked on all cores. Memory holds a few chunks, however long the stream is.

use std::{num::NonZero, time::Duration};

use api::v1;
use axum::{body::Body, extract::State, http::StatusCode, http::header, http::request::Parts};
use engine::vault::{Import, Incoming, Prepared};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{
    Answer,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::{BODY_IDLE, BULK_CHUNK, BULK_CHUNK_BYTES, BULK_LINE_BYTES, BULK_LINES, BULK_REFUSALS},
    permission::Permitted,
    problem::Problem,
};

/// Chunks that wait to be checked; with the one being checked and the one being stored that is what memory holds.
const CHUNKS_WAITING: usize = 2;
/// Most bytes of the sentence about a refused line.
const SENTENCE: usize = 500;
/// Most threads that check.
const THREADS: usize = 8;

/// A line with its number, from 1. It may hold a private key.
struct Line {
    number: u64,
    text: Zeroizing<Vec<u8>>,
}

pub(crate) async fn import(State(shared): State<Shared>, caller: Caller, parts: Parts, body: Body) -> Answer<v1::Bulk> {
    media_type(&parts)?;
    shared.permit(caller.clone(), Scope::Store).await?;
    let (send, receive) = mpsc::channel(CHUNKS_WAITING);
    let working = {
        let shared = shared.clone();
        tokio::spawn(async move { shared.blocking(move |call| work(call, &caller, receive)).await })
    };
    let came = read(body, &send, BODY_IDLE).await;
    drop(send);
    let done = working.await.unwrap_or_else(|e| Err(Problem::internal(&e)));
    shared.app.wake.notify_waiters();
    // What stopped the work is the cause, and what stopped the reading only its consequence.
    let done = done?;
    match came {
        Ok(()) => Ok(json(done)),
        Err(problem) => Err(after(problem, done.stored)),
    }
}

fn media_type(parts: &Parts) -> Result<(), Problem> {
    let given = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/x-ndjson");
    let essence = given.split(';').next().unwrap_or_default().trim();
    if ["application/x-ndjson", "application/jsonl"].iter().any(|t| essence.eq_ignore_ascii_case(t)) {
        return Ok(());
    }
    let detail = format!("the body is {}; this takes application/x-ndjson, one import a line", pki::text::escape(given));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

/// Says what was done before it went wrong: these lines need not come again.
fn after(problem: Problem, stored: u64) -> Problem {
    Problem { detail: format!("{}; {stored} lines were stored before", problem.detail), ..problem }
}

/// Cuts the stream into lines, and the lines into chunks.
async fn read(mut body: Body, send: &mpsc::Sender<Vec<Line>>, idle: Duration) -> Result<(), Problem> {
    let mut cutter = Cutter::default();
    loop {
        let silent = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("nothing came for {} s", idle.as_secs()));
        let Some(frame) = tokio::time::timeout(idle, body.frame()).await.map_err(silent)? else { break };
        let frame = frame.map_err(|_| Problem::bad("bad-body", "the stream broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        for part in data.split_inclusive(|b| *b == b'\n') {
            if let Some(chunk) = cutter.take(part)?
                && send.send(chunk).await.is_err()
            {
                return Ok(()); // the work stopped, and says why
            }
        }
    }
    if let Some(chunk) = cutter.finish() {
        let _ = send.send(chunk).await;
    }
    Ok(())
}

/// Lines and chunks, within their limits.
#[derive(Default)]
struct Cutter {
    number: u64,
    line: Zeroizing<Vec<u8>>,
    chunk: Vec<Line>,
    bytes: usize,
}

impl Cutter {
    /// A part of a line, or its end. Gives a chunk when one is full.
    fn take(&mut self, part: &[u8]) -> Result<Option<Vec<Line>>, Problem> {
        if self.line.len() + part.len() > BULK_LINE_BYTES {
            let detail = format!("line {} is longer than {BULK_LINE_BYTES} bytes", self.number + 1);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "line-too-long", detail));
        }
        if self.line.capacity() == 0 {
            // One allocation for almost every line, so that no half of a key stays behind in freed memory.
            *self.line = Vec::with_capacity(part.len().max(4096));
        }
        self.line.extend_from_slice(part);
        if part.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.end_line()?;
        let full = self.chunk.len() >= BULK_CHUNK || self.bytes + BULK_LINE_BYTES > BULK_CHUNK_BYTES;
        Ok(full.then(|| self.cut()))
    }

    fn end_line(&mut self) -> Result<(), Problem> {
        self.number += 1;
        if self.number > BULK_LINES {
            let detail = format!("one import has at most {BULK_LINES} lines; send the rest as another one");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-lines", detail));
        }
        let text = std::mem::take(&mut self.line);
        if !text.trim_ascii().is_empty() {
            self.bytes += text.len();
            self.chunk.push(Line { number: self.number, text });
        }
        Ok(())
    }

    fn cut(&mut self) -> Vec<Line> {
        self.bytes = 0;
        std::mem::take(&mut self.chunk)
    }

    /// The last line may have no end.
    fn finish(mut self) -> Option<Vec<Line>> {
        self.end_line().ok()?;
        Some(self.cut()).filter(|c| !c.is_empty())
    }
}

/// Lines that passed every check, and what they were, in case one has to be checked again.
#[derive(Default)]
struct Ready {
    lines: Vec<Line>,
    prepared: Vec<Prepared>,
}

#[derive(Default)]
struct Refused {
    count: u64,
    /// The first of them.
    named: Vec<(u64, String)>,
}

impl Refused {
    fn note(&mut self, line: u64, problem: &Problem) {
        self.count += 1;
        if self.named.len() < BULK_REFUSALS {
            let end = problem.detail.char_indices().nth(SENTENCE).map_or(problem.detail.len(), |(at, _)| at);
            self.named.push((line, problem.detail[..end].to_owned()));
        }
    }
}

/// Checks and stores chunk after chunk until there is none, or until the store cannot go on.
fn work(call: &Call, caller: &Caller, mut chunks: mpsc::Receiver<Vec<Line>>) -> Result<v1::Bulk, Problem> {
    let mut refused = Refused::default();
    let mut stored = 0;
    let mut ready = Ready::default();
    loop {
        let next = chunks.blocking_recv();
        let last = next.is_none();
        // A stream may live longer than the token that opened it.
        let permitted = caller.still(&Scope::Store, call).map_err(|problem| after(problem, stored))?;
        let (kept, checked) = std::thread::scope(|scope| {
            let storing = scope.spawn(|| keep(call, &permitted, &ready));
            let checked = check_all(call, next.unwrap_or_default());
            (storing.join().unwrap_or_else(|_| Kept::stopped(0, Problem::internal(&"storing panicked"))), checked)
        });
        stored += kept.stored;
        kept.refused.iter().for_each(|(line, problem)| refused.note(*line, problem));
        if let Some(problem) = kept.stopped {
            return Err(after(problem, stored));
        }
        let mut next = Ready::default();
        for (line, outcome) in checked {
            match outcome {
                Ok(prepared) => {
                    next.lines.push(line);
                    next.prepared.push(prepared);
                }
                Err(problem) if is_ours(&problem) => return Err(after(problem, stored)),
                Err(problem) => refused.note(line.number, &problem),
            }
        }
        ready = next;
        if last && ready.lines.is_empty() {
            break;
        }
    }
    refused.named.sort_by_key(|(line, _)| *line);
    Ok(v1::Bulk { stored, refused_count: refused.count, refused: refused.named })
}

/// Nothing is wrong with the line; nothing can be stored.
fn is_ours(problem: &Problem) -> bool {
    problem.status.is_server_error()
}

/// Checks lines on several threads; gives them back in order.
fn check_all(call: &Call, lines: Vec<Line>) -> Vec<(Line, Result<Prepared, Problem>)> {
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, THREADS);
    let per_thread = lines.len().div_ceil(threads).max(1);
    let mut parts: Vec<Vec<Line>> = Vec::new();
    for line in lines {
        match parts.last_mut() {
            Some(part) if part.len() < per_thread => part.push(line),
            _ => parts.push(vec![line]),
        }
    }
    std::thread::scope(|scope| {
        let check = |part: Vec<Line>| {
            part.into_iter().map(|line| {
                // A panic is a defect, and must not take its line along: it is refused like any other.
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(call, &line)));
                let outcome =
                    caught.unwrap_or_else(|_| Err(Problem::unprocessable("bad-line", "the check of this line failed".to_owned())));
                (line, outcome)
            })
        };
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || check(part).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect()
    })
}

fn check(call: &Call, line: &Line) -> Result<Prepared, Problem> {
    let wanted: v1::BulkImport = serde_json::from_slice(&line.text)
        .map_err(|e| Problem::unprocessable("bad-line", format!("column {} does not fit the schema BulkImport", e.column())))?;
    let incoming = Incoming {
        scope: String::from("all"),
        chain: wanted.chain_pem.into_bytes(),
        key: wanted.key_pem.map(|k| Zeroizing::new(k.into_bytes())),
        password: None,
    };
    let import =
        Import { name: &wanted.name, instances: vec![incoming], accept_change: false, roots: None, reason: "bulk import", dry_run: false };
    Ok(call.engine().prepare(import, &call.tick)?)
}

/// What became of checked lines.
struct Kept {
    stored: u64,
    refused: Vec<(u64, Problem)>,
    stopped: Option<Problem>,
}

impl Kept {
    fn stopped(stored: u64, problem: Problem) -> Kept {
        Kept { stored, refused: Vec::new(), stopped: Some(problem) }
    }
}

fn keep(call: &Call, permitted: &Permitted, ready: &Ready) -> Kept {
    let mut kept = Kept { stored: 0, refused: Vec::new(), stopped: None };
    keep_some(call, permitted, &ready.lines, &ready.prepared, &mut kept);
    kept
}

/// Stores lines in one transaction. Where one of them stands against it, halves find out which.
fn keep_some(call: &Call, permitted: &Permitted, lines: &[Line], prepared: &[Prepared], kept: &mut Kept) {
    if lines.is_empty() || kept.stopped.is_some() {
        return;
    }
    let store = |prepared: &[Prepared]| {
        let stored = call.engine().store_all(prepared, &mut call.random(), &permitted.actor(), &call.tick);
        stored.map(|s| s.len() as u64).map_err(Problem::from)
    };
    match (store(prepared), lines) {
        (Ok(n), _) => kept.stored += n,
        (Err(problem), _) if is_ours(&problem) => kept.stopped = Some(problem),
        // A line before it was about the same secret: compare with that one.
        (Err(problem), [line]) if problem.code == "changed-meanwhile" => {
            match check(call, line).and_then(|again| store(std::slice::from_ref(&again))) {
                Ok(n) => kept.stored += n,
                Err(problem) if is_ours(&problem) => kept.stopped = Some(problem),
                Err(problem) => kept.refused.push((line.number, problem)),
            }
        }
        (Err(problem), [line]) => kept.refused.push((line.number, problem)),
        (Err(_), _) => {
            let (first, second) = lines.split_at(lines.len() / 2);
            let (a, b) = prepared.split_at(first.len());
            keep_some(call, permitted, first, a, kept);
            keep_some(call, permitted, second, b, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cut(parts: &[&[u8]]) -> Result<Vec<Vec<(u64, usize)>>, &'static str> {
        let mut cutter = Cutter::default();
        let mut chunks = Vec::new();
        for part in parts.iter().flat_map(|p| p.split_inclusive(|b| *b == b'\n')) {
            chunks.extend(cutter.take(part).map_err(|p| p.code)?);
        }
        chunks.extend(cutter.finish());
        Ok(chunks.iter().map(|c| c.iter().map(|l| (l.number, l.text.trim_ascii().len())).collect()).collect())
    }

    #[test]
    fn lines_are_numbered_and_may_come_in_any_parts() {
        assert_eq!(cut(&[]), Ok(vec![]));
        assert_eq!(cut(&[b"ab\n", b"\n", b"c", b"d\ne"]), Ok(vec![vec![(1, 2), (3, 2), (4, 1)]]));
        assert_eq!(cut(&[b"a\n\n  \n"]), Ok(vec![vec![(1, 1)]]));
        let many = b"x\n".repeat(BULK_CHUNK * 2 + 1);
        let sizes: Vec<usize> = cut(&[&many]).unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [BULK_CHUNK, BULK_CHUNK, 1]);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_is_held() {
        let part = vec![b'x'; 64 << 10];
        assert!(cut(&[&part, &part, &part]).is_ok());
        assert_eq!(cut(&[&part, &part, &part, &part, b"x"]), Err("line-too-long"));
    }

    #[test]
    fn a_chunk_is_bounded_in_bytes() {
        let mut line = vec![b'x'; BULK_LINE_BYTES - 1];
        line.push(b'\n');
        let chunks = cut(&vec![line.as_slice(); 70]).unwrap();
        assert!(chunks.iter().all(|c| c.iter().map(|(_, n)| n + 1).sum::<usize>() <= BULK_CHUNK_BYTES));
        assert!(chunks.len() > 1);
    }
}
