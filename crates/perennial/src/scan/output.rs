//! Standard output by a thread of its own, and the progress of the whole.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{
    judge::{Report, Standing},
    lines,
};

/// Lines are handed over in pieces of this size.
const PIECE: usize = 32 * 1024;
/// Pieces that wait to be written; when they are full, dialling waits too.
const PIECES: usize = 8;
/// The longest that a line waits for others.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// How reports are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// One JSON object per line.
    Json,
    /// For people.
    Lines {
        /// Whether the standing is coloured.
        colours: bool,
    },
}

/// How many reports there were of each standing.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; Standing::ALL.len()]);

impl Tally {
    pub(super) fn count(&self, standing: Standing) -> u64 {
        self.0.get(standing as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn note(&self, standing: Standing) {
        if let Some(count) = self.0.get(standing as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The bar, where somebody looks at it.
#[derive(Clone)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(known: Option<u64>) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress(None);
        }
        let bar = ProgressBar::with_draw_target(known, ProgressDrawTarget::stderr_with_hz(10));
        let template = if known.is_some() { "{bar:32} {pos}/{len} addresses, {elapsed}" } else { "{spinner} {pos} addresses, {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(Some(bar))
    }

    /// All targets have been read.
    pub(super) fn expect(&self, count: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(bar.position().max(count));
        }
    }
}

/// Pieces that were written, to be filled again: large blocks that come and go keep the allocator busy.
type Blank = Arc<Mutex<Vec<Vec<u8>>>>;

/// Standard output, the tally and the bar.
pub(super) struct Output {
    form: Form,
    writer: Sender<Vec<u8>>,
    blank: Blank,
    thread: JoinHandle<io::Result<()>>,
    tally: Arc<Tally>,
    progress: Progress,
}

/// One thread's way to the output; clones fill the same piece.
#[derive(Clone)]
pub(super) struct Pen(Arc<Piece>);

struct Piece {
    form: Form,
    bytes: Mutex<Vec<u8>>,
    writer: Sender<Vec<u8>>,
    blank: Blank,
    tally: Arc<Tally>,
    progress: Progress,
}

/// What is left when all is written.
pub(super) struct Done {
    pub(super) tally: Arc<Tally>,
    pub(super) written: io::Result<()>,
}

impl Output {
    /// Starts the writer; `known` is the number of targets, if it is known.
    pub(super) fn start(form: Form, known: Option<u64>) -> Output {
        let (writer, pieces) = mpsc::channel(PIECES);
        let progress = Progress::new(known);
        let bar = progress.clone();
        let blank = Blank::default();
        let written = Arc::clone(&blank);
        let thread = thread::spawn(move || write_all(pieces, &written, &bar));
        Output { form, writer, blank, thread, tally: Arc::default(), progress }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// A pen for one thread.
    pub(super) fn pen(&self) -> Pen {
        Pen(Arc::new(Piece {
            form: self.form,
            bytes: Mutex::default(),
            writer: self.writer.clone(),
            blank: Arc::clone(&self.blank),
            tally: Arc::clone(&self.tally),
            progress: self.progress.clone(),
        }))
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    /// Waits until everything is written. All pens must be gone.
    pub(super) fn finish(self) -> Done {
        drop(self.writer);
        let written = self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer broke off")));
        if let Some(bar) = &self.progress.0 {
            bar.finish_and_clear();
        }
        if matches!(self.form, Form::Lines { .. }) {
            let _ = writeln!(io::stderr(), "{}", summary(&self.tally));
        }
        Done { tally: self.tally, written }
    }
}

/// "5 addresses: 3 ok, 1 notice, 1 unreachable"
fn summary(tally: &Tally) -> String {
    let counts = Standing::ALL.map(|standing| (standing, tally.count(standing)));
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let parts: Vec<String> =
        counts.iter().filter(|(_, count)| *count > 0).map(|(standing, count)| format!("{count} {}", standing.as_str())).collect();
    format!("{all} address{}: {}", if all == 1 { "" } else { "es" }, parts.join(", "))
}

impl Pen {
    /// Hands a report over; waits when standard output does not keep up.
    pub(super) async fn put(&self, report: &Report) {
        self.0.tally.note(report.standing);
        if let Some(bar) = &self.0.progress.0 {
            bar.inc(1);
        }
        let full = {
            let mut bytes = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            match self.0.form {
                Form::Json => lines::json(report, &mut bytes),
                Form::Lines { colours } => lines::readable(report, colours, &mut bytes),
            }
            bytes.len() >= PIECE
        };
        if full {
            self.flush().await;
        }
    }

    /// Sends what there is.
    pub(super) async fn flush(&self) {
        let piece = {
            let mut bytes = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            if bytes.is_empty() {
                return;
            }
            let blank = self.0.blank.lock().unwrap_or_else(PoisonError::into_inner).pop();
            std::mem::replace(&mut *bytes, blank.unwrap_or_else(|| Vec::with_capacity(PIECE + PIECE / 4)))
        };
        // Whoever closed the output is noticed in `closed`.
        let _ = self.0.writer.send(piece).await;
    }

    /// Sends what there is, again and again; never returns.
    pub(super) async fn keep_flushing(&self) {
        loop {
            tokio::time::sleep(FLUSH_EVERY).await;
            self.flush().await;
        }
    }

    /// Returns when nobody reads any more.
    pub(super) async fn closed(&self) {
        self.0.writer.closed().await;
    }
}

/// Writes until there is no more, or nobody reads. A reader that has seen enough is no error.
fn write_all(mut pieces: Receiver<Vec<u8>>, blank: &Blank, progress: &Progress) -> io::Result<()> {
    let mut stdout = io::stdout();
    let together = progress.0.as_ref().filter(|_| stdout.is_terminal());
    while let Some(mut piece) = pieces.blocking_recv() {
        let mut write = || stdout.write_all(&piece).and_then(|()| stdout.flush());
        let done = match together {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        match done {
            Ok(()) => {
                piece.clear();
                // A line may have been huge; such a piece is not kept.
                if piece.capacity() <= 2 * PIECE {
                    blank.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
