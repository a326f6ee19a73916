//! `perennial cert import --bulk`: many certificates, handed over in pieces, so that memory follows the piece and never the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use api::v1::Bulk;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pki::text::escape;
use zeroize::Zeroizing;

use crate::error::{Error, Exit};
use crate::remote::parse;
use crate::route::Route;
use crate::session::Session;

/// Most lines of one piece.
const PIECE_LINES: usize = 5_000;
/// A piece is handed over when it has so many bytes.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Longest line, in bytes; the server takes no longer one.
const MAX_LINE: usize = 256 * 1024;

pub(super) async fn run(path: &Path, from_line: u64, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let shown = escape(&path.display().to_string());
    let (input, length): (Box<dyn Read>, Option<u64>) = if path.as_os_str() == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(|error| Error::Usage(format!("--bulk {shown}: {error}")))?;
        let length = file.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
        (Box::new(file), length)
    };
    let bar = bar(session.screen.progress, length);
    let mut pieces = Pieces::new(BufReader::with_capacity(256 * 1024, input), from_line);
    let route = Route::to(&["bulk"]);
    let mut total = Bulk { stored: 0, refused_count: 0, refused: Vec::new() };
    let ended = loop {
        let piece = match pieces.next() {
            Ok(Some(piece)) => piece,
            Ok(None) => break Ok(()),
            Err(error) => break Err(Error::Usage(format!("--bulk {shown}, line {}: {error}", pieces.line))),
        };
        let first = piece.lines.first().copied().unwrap_or(pieces.line);
        let answer = match session.remote.post_lines(&route, piece.bytes).await.and_then(|answer| parse::<Bulk>(&answer)) {
            Ok(answer) => answer,
            // What was answered is stored; the rest can follow in a second call.
            Err(Error::Unreachable(why)) => {
                break Err(Error::Unreachable(format!("{why}\nall before line {first} was answered; go on with --from-line {first}")));
            }
            Err(other) => break Err(other),
        };
        total.stored += answer.stored;
        total.refused_count += answer.refused_count;
        for (line, why) in answer.refused {
            let line = usize::try_from(line).ok().and_then(|line| piece.lines.get(line.checked_sub(1)?)).copied().unwrap_or(line);
            if session.json {
                total.refused.push((line, why));
            } else {
                bar.suspend(|| session.screen.data(&format!("line {line}: {}", escape(&why))))?;
            }
        }
        bar.set_position(if length.is_some() { pieces.bytes } else { total.stored });
    };
    bar.finish_and_clear();
    if session.json {
        let line = serde_json::to_string(&total).map_err(io::Error::other)?;
        session.screen.data(&line)?;
    }
    session.screen.say(&format!("{} stored, {} refused", total.stored, total.refused_count))?;
    ended.map(|()| Exit::due(total.refused_count > 0))
}

fn bar(shown: bool, length: Option<u64>) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(10));
    let template =
        if length.is_some() { "{bar:32} {bytes}/{total_bytes}, {elapsed}, {eta} left" } else { "{spinner} {pos} stored, {elapsed}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Lines that travel together. They hold private keys: the bytes are wiped by whoever sends them.
struct Piece {
    bytes: Vec<u8>,
    /// Their numbers in the file; empty lines are not sent.
    lines: Vec<u64>,
}

struct Pieces<R> {
    input: R,
    from_line: u64,
    /// Lines read so far.
    line: u64,
    /// Bytes read so far.
    bytes: u64,
}

impl<R: BufRead> Pieces<R> {
    fn new(input: R, from_line: u64) -> Pieces<R> {
        Pieces { input, from_line, line: 0, bytes: 0 }
    }

    /// The next piece; none at the end.
    fn next(&mut self) -> io::Result<Option<Piece>> {
        // Never grows beyond what it has room for, so no copies are left behind.
        let mut piece = Piece { bytes: Vec::with_capacity(PIECE_BYTES + MAX_LINE + 1), lines: Vec::new() };
        while piece.lines.len() < PIECE_LINES && piece.bytes.len() < PIECE_BYTES {
            let Some(line) = self.read_line()? else { break };
            piece.bytes.extend_from_slice(&line);
            piece.bytes.push(b'\n');
            piece.lines.push(self.line);
        }
        Ok((!piece.lines.is_empty()).then_some(piece))
    }

    fn read_line(&mut self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        loop {
            let mut line = Zeroizing::new(Vec::with_capacity(8 * 1024));
            let read = self.input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.bytes += read as u64;
            if read > MAX_LINE {
                return Err(io::Error::other(format!("longer than {MAX_LINE} bytes")));
            }
            let text = line.trim_ascii();
            if !text.is_empty() && self.line >= self.from_line {
                let (start, length) = (line.len() - line.trim_ascii_start().len(), text.len());
                line.drain(..start);
                line.truncate(length);
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pieces(text: &str, from_line: u64) -> io::Result<Vec<(String, Vec<u64>)>> {
        let mut pieces = Pieces::new(text.as_bytes(), from_line);
        let mut all = Vec::new();
        while let Some(piece) = pieces.next()? {
            all.push((String::from_utf8(piece.bytes).unwrap(), piece.lines));
        }
        Ok(all)
    }

    #[test]
    fn lines_keep_their_numbers() {
        assert_eq!(pieces("", 1).unwrap(), []);
        assert_eq!(pieces("\n \r\n", 1).unwrap(), []);
        assert_eq!(pieces("{a}\n\n  {b}\r\n{c}", 1).unwrap(), [("{a}\n{b}\n{c}\n".to_owned(), vec![1, 3, 4])]);
        assert_eq!(pieces("{a}\n\n{b}\n{c}", 3).unwrap(), [("{b}\n{c}\n".to_owned(), vec![3, 4])]);
    }

    #[test]
    fn pieces_are_bounded() {
        let many = "{}\n".repeat(PIECE_LINES + 1);
        let sizes: Vec<usize> = pieces(&many, 1).unwrap().iter().map(|(_, lines)| lines.len()).collect();
        assert_eq!(sizes, [PIECE_LINES, 1]);
        let long = format!("{}\n", "x".repeat(MAX_LINE - 1)).repeat(17);
        let sizes: Vec<usize> = pieces(&long, 1).unwrap().iter().map(|(_, lines)| lines.len()).collect();
        assert_eq!(sizes, [16, 1]);
        assert!(pieces(&"x".repeat(MAX_LINE + 1), 1).unwrap_err().to_string().contains("longer than"));
    }
}
