//! Apache httpd: `<VirtualHost>` sections with `SSLEngine on`.

use std::collections::HashMap;

use api::fleet::Protocol;

use super::files::{Files, Includes};
use super::{AdoptError, Bind, MAX_NESTING, Reading, split_port};

pub(super) fn read(path: &str, text: &str, files: &dyn Files, reading: &mut Reading) -> Result<(), AdoptError> {
    let mut reader = Reader {
        includes: Includes::new(files, path),
        reading,
        defined: HashMap::new(),
        sections: Vec::new(),
        host: None,
        ssl_everywhere: false,
        hosts: Vec::new(),
    };
    reader.file(path, text)?;
    if let Some((name, file, at)) = reader.sections.last() {
        return Err(AdoptError::new(file, *at, format!("<{name}> is never closed; add </{name}>")));
    }
    let Reader { hosts, ssl_everywhere, reading, .. } = reader;
    for host in hosts {
        serve(&host, ssl_everywhere, reading)?;
    }
    Ok(())
}

/// One virtual host.
struct Host {
    addresses: Vec<String>,
    ssl: Option<bool>,
    names: Vec<String>,
    file: String,
    at: (usize, usize),
}

fn serve(host: &Host, ssl_everywhere: bool, reading: &mut Reading) -> Result<(), AdoptError> {
    if !host.ssl.unwrap_or(ssl_everywhere) {
        return Ok(());
    }
    let source = format!("{}:{}", pki::text::escape(&host.file), host.at.0);
    // ServerName may be written as a whole address; its port says where clients come in.
    let mut named_port = None;
    let mut names: Vec<String> = Vec::new();
    for name in &host.names {
        let bare = name.strip_prefix("https://").unwrap_or(name);
        let (bare, port) = split_port(bare).unwrap_or((bare, None));
        named_port = named_port.or(port);
        names.push(bare.to_owned());
    }
    super::few_enough(host.addresses.len()).map_err(|e| AdoptError::new(&host.file, host.at, e))?;
    for address in &host.addresses {
        let any_port = address.strip_suffix(":*");
        let Some((host_part, port)) = split_port(any_port.unwrap_or(address)) else {
            reading.remark(source.as_str(), format!("{} is not an address that could be dialled", pki::text::escape(address)));
            continue;
        };
        let Some(bind) = Bind::parse(host_part) else {
            reading.remark(source.as_str(), format!("{} is not a host that could be dialled", pki::text::escape(host_part)));
            continue;
        };
        let port = port.or(named_port).unwrap_or(443);
        reading.serve(&source, &bind, port, Protocol::Tls, &names).map_err(|e| AdoptError::new(&host.file, host.at, e))?;
    }
    Ok(())
}

struct Reader<'r, 'f> {
    includes: Includes<'f>,
    reading: &'r mut Reading,
    defined: HashMap<String, String>,
    /// Sections that are open: name, file, place.
    sections: Vec<(String, String, (usize, usize))>,
    /// The virtual host that is open.
    host: Option<Host>,
    ssl_everywhere: bool,
    hosts: Vec<Host>,
}

impl Reader<'_, '_> {
    fn file(&mut self, path: &str, text: &str) -> Result<(), AdoptError> {
        let mut lines = text.lines().enumerate();
        while let Some((index, first)) = lines.next() {
            let mut line = first.to_owned();
            while line.ends_with('\\') {
                line.pop();
                match lines.next() {
                    Some((_, more)) => line.push_str(more),
                    None => break,
                }
            }
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            self.line(path, (index + 1, column), line.trim())?;
        }
        Ok(())
    }

    fn line(&mut self, path: &str, at: (usize, usize), line: &str) -> Result<(), AdoptError> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let refuse = |message: String| AdoptError::new(path, at, message);
        if let Some(name) = line.strip_prefix("</") {
            let name = name.trim_end_matches('>').trim();
            return match self.sections.pop() {
                Some((open, ..)) if open.eq_ignore_ascii_case(name) => {
                    if open.eq_ignore_ascii_case("VirtualHost") {
                        self.hosts.extend(self.host.take());
                    }
                    Ok(())
                }
                Some((open, ..)) => Err(refuse(format!("</{}> closes <{}>", pki::text::escape(name), pki::text::escape(&open)))),
                None => Err(refuse(format!("</{}> closes nothing", pki::text::escape(name)))),
            };
        }
        if let Some(inner) = line.strip_prefix('<') {
            let inner = inner.strip_suffix('>').ok_or_else(|| refuse("a section begins with '<' and ends with '>'".to_owned()))?;
            let mut words = self.words(inner);
            if words.is_empty() || self.sections.len() >= MAX_NESTING {
                return Err(refuse(format!("a section without a name, or more than {MAX_NESTING} levels of them")));
            }
            let name = words.remove(0);
            if name.eq_ignore_ascii_case("VirtualHost") {
                if self.host.is_some() {
                    return Err(refuse("a <VirtualHost> inside a <VirtualHost>".to_owned()));
                }
                self.host = Some(Host { addresses: words, ssl: None, names: Vec::new(), file: path.to_owned(), at });
            }
            self.sections.push((name, path.to_owned(), at));
            return Ok(());
        }
        let words = self.words(line);
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        let argument = args.first().map_or("", String::as_str);
        match name.to_ascii_lowercase().as_str() {
            "define" if args.len() == 2 => {
                self.defined.insert(argument.to_owned(), args.get(1).cloned().unwrap_or_default());
            }
            // Relative paths begin here (httpd manual, ServerRoot).
            "serverroot" => self.includes.bases.insert(0, argument.to_owned()),
            "include" => self.include(path, at, argument, false)?,
            "includeoptional" => self.include(path, at, argument, true)?,
            "sslengine" => {
                // "optional" upgrades inside HTTP (RFC 2817), which nothing here can dial.
                let on = argument.eq_ignore_ascii_case("on");
                match &mut self.host {
                    Some(host) => host.ssl = Some(on),
                    None => self.ssl_everywhere |= on,
                }
            }
            "servername" | "serveralias" => {
                if let Some(host) = &mut self.host {
                    host.names.extend(args.iter().cloned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn include(&mut self, path: &str, at: (usize, usize), pattern: &str, optional: bool) -> Result<(), AdoptError> {
        let source = format!("{}:{}", pki::text::escape(path), at.0);
        // A directory stands for all that lies below it (httpd manual, Include).
        let names = match self.includes.resolve_below(pattern, optional) {
            Ok(names) => names,
            Err(why) => {
                self.reading.remark(source, format!("include was passed over: {why}"));
                return Ok(());
            }
        };
        for name in names {
            let text = self.includes.enter(&name).map_err(|why| AdoptError::new(path, at, why))?;
            self.file(&name, &text)?;
            self.includes.leave(&name);
        }
        Ok(())
    }

    /// Words of a line, quotes removed and `${…}` filled in where it was defined.
    fn words(&self, line: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut chars = line.chars().peekable();
        while let Some(first) = chars.next() {
            if first.is_whitespace() {
                continue;
            }
            let mut word = String::new();
            if first == '"' || first == '\'' {
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => word.extend(chars.next()),
                        c if c == first => break,
                        c => word.push(c),
                    }
                }
            } else {
                word.push(first);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                    word.push(c);
                }
            }
            out.push(self.filled(&word));
        }
        out
    }

    /// One pass: what a variable stands for is not filled in again, so nothing can grow without end.
    fn filled(&self, word: &str) -> String {
        let mut out = String::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else {
                break;
            };
            out.push_str(before);
            match self.defined.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("${{{name}}}")),
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }
}
