//! Where targets come from: the call, files, standard input. Read as they are needed, never all at once.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use probe::Target;
use tokio::sync::{
    Mutex,
    mpsc::{self, Receiver, Sender},
};

use super::{complain, output::Progress};

/// Targets that are handed over together: waking a dialling thread for each would cost more than reading it.
const BATCH: usize = 64;
/// Batches that wait for room.
const AHEAD: usize = 4;
/// The longest line of a list: a target and a comment.
const MAX_LINE: u64 = 4096;
/// The largest file of trusted roots.
const MAX_SMALL: u64 = 16 * 1024 * 1024;

/// A target with the text that asked for it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// As written.
    pub(super) text: Arc<str>,
    pub(super) target: Arc<Target>,
    /// One address of it; before, all of them.
    pub(super) address: Option<std::net::IpAddr>,
}

/// What was opened and not yet read.
pub(super) struct Sources {
    named: Vec<Item>,
    lists: Vec<(String, BufReader<Box<dyn Read + Send>>)>,
}

/// What reading came to.
#[derive(Debug, Default)]
pub(super) struct Fed {
    pub(super) read: u64,
    pub(super) wrong: u64,
}

impl Sources {
    /// How many targets there are, if that is known beforehand.
    pub(super) fn known(&self) -> Option<u64> {
        self.lists.is_empty().then(|| u64::try_from(self.named.len()).unwrap_or(u64::MAX))
    }
}

/// Opens everything, so that a wrong call is refused before anything is dialled.
pub(super) fn open(named: &[String], files: &[PathBuf]) -> Result<Sources, String> {
    let mut sources = Sources { named: Vec::new(), lists: Vec::new() };
    for text in named {
        if text == "-" {
            sources.lists.push(standard_input());
        } else {
            sources.named.push(item(text).map_err(|error| format!("{}: {error}", pki::text::escape(text)))?);
        }
    }
    for path in files {
        if path.as_os_str() == "-" {
            sources.lists.push(standard_input());
        } else {
            let file = File::open(path).map_err(|error| format!("--file {}: {error}", path.display()))?;
            sources.lists.push((path.display().to_string(), BufReader::new(Box::new(file))));
        }
    }
    Ok(sources)
}

fn standard_input() -> (String, BufReader<Box<dyn Read + Send>>) {
    ("standard input".into(), BufReader::new(Box::new(io::stdin())))
}

fn item(text: &str) -> Result<Item, probe::TargetError> {
    let target = Target::parse(text)?;
    Ok(Item { text: text.trim().into(), address: target.address, target: Arc::new(target) })
}

/// A file that must fit into memory.
pub(super) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SMALL + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SMALL {
        return Err(io::Error::other(format!("larger than the limit of {MAX_SMALL} bytes")));
    }
    Ok(bytes)
}

/// Reads on a thread of its own: reading may block, and dials in flight must not.
pub(super) fn feed(sources: Sources, progress: Progress) -> (Queue, JoinHandle<Fed>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let feeder = thread::spawn(move || {
        let mut pump = Pump { sender, batch: Vec::with_capacity(BATCH), fed: Fed::default() };
        // Ends early when nobody wants any more.
        let _ = pump.pour(sources).and_then(|()| pump.hand_over());
        progress.expect(pump.fed.read);
        pump.fed
    });
    (Queue(Mutex::new(receiver)), feeder)
}

/// Targets that were read, for all dialling threads.
pub(super) struct Queue(Mutex<Receiver<Vec<Item>>>);

impl Queue {
    /// One thread's way to the queue.
    pub(super) fn tap(&self) -> Tap<'_> {
        Tap { queue: self, batch: Vec::new().into_iter() }
    }
}

/// Takes from the queue batch by batch.
pub(super) struct Tap<'a> {
    queue: &'a Queue,
    batch: std::vec::IntoIter<Item>,
}

impl Tap<'_> {
    /// The next target; none when there are no more. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.batch.next() {
                return Some(item);
            }
            self.batch = self.queue.0.lock().await.recv().await?.into_iter();
        }
    }
}

/// Nobody wants any more targets.
struct Enough;

struct Pump {
    sender: Sender<Vec<Item>>,
    batch: Vec<Item>,
    fed: Fed,
}

impl Pump {
    fn add(&mut self, item: Item) -> Result<(), Enough> {
        self.fed.read += 1;
        self.batch.push(item);
        if self.batch.len() >= BATCH { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), Enough> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.sender.blocking_send(batch).map_err(|_| Enough)
    }

    fn pour(&mut self, sources: Sources) -> Result<(), Enough> {
        for item in sources.named {
            self.add(item)?;
        }
        for (name, list) in sources.lists {
            self.pour_list(&name, list)?;
        }
        Ok(())
    }

    fn pour_list(&mut self, name: &str, mut list: BufReader<Box<dyn Read + Send>>) -> Result<(), Enough> {
        let mut line = Vec::new();
        for number in 1u64.. {
            // The next line may be long in coming (a pipe, a keyboard); what there is must not wait for it.
            if list.buffer().is_empty() {
                self.hand_over()?;
            }
            line.clear();
            match list.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.wrong(name, number, &error.to_string());
                    break;
                }
            }
            if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
                // What follows in this line would look like targets; a list like that is none.
                self.wrong(name, number, &format!("the line is longer than {MAX_LINE} bytes; the rest of the list is not read"));
                break;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.split_once('#').map_or(&*text, |(before, _)| before).trim();
            if text.is_empty() {
                continue;
            }
            match item(text) {
                Ok(item) => self.add(item)?,
                Err(error) => self.wrong(name, number, &error.to_string()),
            }
        }
        Ok(())
    }

    /// The rest is still scanned; the exit status remembers.
    fn wrong(&mut self, name: &str, number: u64, what: &str) {
        self.fed.wrong += 1;
        complain(&format!("{name}, line {number}: {what}"));
    }
}
