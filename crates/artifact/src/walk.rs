//! Files and folders on disk. They are opened for reading only; links in folders are not followed, so nothing outside is read and no loop exists.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pki::text::escape;

use crate::finding::Code;
use crate::image::Layers;
use crate::meter::Bottom;
use crate::place::Place;
use crate::scan::{Depth, Scan};
use crate::sniff::{HEAD, Packing, sniff};
use crate::sparse;
use crate::stream::{CHUNK, Stream};
use crate::zip;

/// Largest description of an image layout.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

impl Scan<'_, '_> {
    /// What the caller named; if that is a link, it is followed.
    pub(crate) fn path(&mut self, path: &Path) {
        let place = Place::outside(&path.to_string_lossy());
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => self.folder(path),
            Ok(found) if found.is_file() => self.file(path, &place),
            // A pipe or the like that the caller named is read to its end.
            Ok(_) => match File::open(path) {
                Ok(mut file) => {
                    let depth = Depth { streamed: true, ..Depth::default() };
                    self.contents(&mut Bottom::new(&mut file, self.meter, &place), &place, depth);
                }
                Err(error) => self.unreadable(&place, &error),
            },
            Err(error) => self.unreadable(&place, &error),
        }
    }

    fn unreadable(&mut self, place: &Place, error: &std::io::Error) {
        self.meter.tell(place, Code::Unreadable, format!("it cannot be read: {}", escape(&error.to_string())));
    }

    /// A folder and all below it, in the order of names.
    fn folder(&mut self, top: &Path) {
        // What is still to be looked at, the next one last.
        let mut waiting = vec![Step::Look(top.to_owned())];
        let mut entries = 0u64;
        while let Some(step) = waiting.pop() {
            if self.meter.is_over() {
                // What is held must still be let go.
                if let Step::Release(from, layers, place) = step {
                    self.release(from, |finding| layers.note(finding, &place, '/'));
                }
                continue;
            }
            match step {
                Step::Release(from, layers, place) => self.release(from, |finding| layers.note(finding, &place, '/')),
                Step::Look(path) => {
                    let place = Place::outside(&path.to_string_lossy());
                    entries += 1;
                    if entries > self.limits().entries {
                        let limit = self.limits().entries;
                        self.meter.tell(
                            &place,
                            Code::TooMany,
                            format!("the folder has more than {limit} entries (limit entries); nothing from here on was looked at"),
                        );
                        waiting.retain(|step| matches!(step, Step::Release(..)));
                        continue;
                    }
                    match fs::symlink_metadata(&path) {
                        Ok(found) if found.is_dir() || entries == 1 => self.open_folder(&path, &place, &mut waiting),
                        Ok(found) if found.is_file() => self.file(&path, &place),
                        // Links lead to what is looked at by itself, or outside; devices and pipes hold nothing that was built.
                        Ok(_) => {}
                        Err(error) => self.unreadable(&place, &error),
                    }
                    self.pass_on();
                }
            }
        }
    }

    fn open_folder(&mut self, path: &Path, place: &Place, waiting: &mut Vec<Step>) {
        let mut names = Vec::new();
        match fs::read_dir(path) {
            Ok(list) => {
                for entry in list {
                    match entry {
                        Ok(entry) => names.push(entry.file_name()),
                        Err(error) => return self.unreadable(place, &error),
                    }
                }
            }
            Err(error) => return self.unreadable(place, &error),
        }
        names.sort();
        if names.iter().any(|name| name == "index.json") && names.iter().any(|name| name == "blobs") {
            let layers = Layers::read(&mut |name| {
                let path = path.join(name);
                let plain = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= MAX_MANIFEST);
                let mut text = Vec::new();
                (plain && File::open(&path).ok()?.take(MAX_MANIFEST).read_to_end(&mut text).is_ok()).then_some(text)
            });
            if !layers.is_empty() {
                let from = self.hold();
                waiting.push(Step::Release(from, layers, place.clone()));
            }
        }
        waiting.extend(names.into_iter().rev().map(|name| Step::Look(path.join(name))));
    }

    fn file(&mut self, path: &Path, place: &Place) {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (found, mut file) = match opened {
            // It may have become something else meanwhile.
            Ok((found, file)) if found.is_file() => (found, file),
            Ok(_) => return,
            Err(error) => return self.unreadable(place, &error),
        };
        let length = found.len();
        // Most files are small: one read, and all the rest in memory.
        let zip = if length <= CHUNK as u64 / 2 {
            let mut bottom = Bottom::new(&mut file, self.meter, place);
            let mut stream = Stream::new(&mut bottom, self.buffer());
            let here = stream.peek(CHUNK / 2);
            let zip = is_zip(here, here);
            if !zip {
                self.unpack(&mut stream, place, Depth::default());
            }
            self.keep(stream.into_buffer());
            if !zip {
                return;
            }
            zip
        } else {
            match ends(&mut file, length) {
                Ok((head, tail)) => {
                    // Without holes only where nothing depends on places: what is packed is read with its zeros.
                    if sniff(&head).is_none()
                        && let Some(mut sparse) = sparse::skipping_holes(&file, &found)
                    {
                        return self.contents(&mut Bottom::new(&mut sparse, self.meter, place), place, Depth::default());
                    }
                    is_zip(&head, &tail)
                }
                Err(error) => return self.unreadable(place, &error),
            }
        };
        let mut bottom = Bottom::new(file, self.meter, place);
        if zip {
            self.zip(&mut bottom, length, place, Depth::default().inside());
        } else {
            self.contents(&mut bottom, place, Depth::default());
        }
    }
}

/// What is to be done next in a tree.
enum Step {
    Look(PathBuf),
    /// All of an image layout was looked at.
    Release(usize, Layers, Place),
}

/// The first and the last bytes; the file is at its beginning again.
fn ends(file: &mut File, length: u64) -> std::io::Result<([u8; HEAD], Vec<u8>)> {
    let (mut head, mut tail) = ([0; HEAD], Vec::new());
    file.read_exact(&mut head)?;
    file.seek(SeekFrom::Start(length.saturating_sub(zip::MAX_END)))?;
    file.by_ref().take(zip::MAX_END).read_to_end(&mut tail)?;
    file.rewind()?;
    Ok((head, tail))
}

/// A zip, also with something before it, as programs that unpack themselves have.
fn is_zip(head: &[u8], tail: &[u8]) -> bool {
    match sniff(head) {
        Some(Packing::Zip) => true,
        Some(_) => false,
        None => zip::is_end(tail),
    }
}
