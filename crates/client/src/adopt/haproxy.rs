//! HAProxy: `bind … ssl` of frontends, with the names that SNI rules and certificate lists tell.

use api::fleet::Protocol;

use super::files::{Files, Includes};
use super::{AdoptError, Bind, Reading, parse_port};

/// Most ports that one `bind` may span.
const MAX_BIND_PORTS: usize = 1_024;

pub(super) fn read(path: &str, text: &str, files: &dyn Files, reading: &mut Reading) -> Result<(), AdoptError> {
    let mut includes = Includes::new(files, path);
    let mut section: Option<Section> = None;
    for (index, line) in text.lines().enumerate() {
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let at = (index + 1, column);
        let words = words(line).ok_or_else(|| AdoptError::new(path, at, "a quote is opened here and never closed"))?;
        let Some((first, args)) = words.split_first() else {
            continue;
        };
        match first.as_str() {
            "global" | "defaults" | "backend" | "userlist" | "resolvers" | "peers" | "cache" | "program" | "mailers" | "ring"
            | "http-errors" | "log-forward" | "fcgi-app" | "crt-store" | "traces" => {
                finish(path, section.take(), reading)?;
            }
            "frontend" | "listen" => {
                finish(path, section.take(), reading)?;
                section = Some(Section::default());
            }
            "bind" => {
                if let Some(section) = &mut section {
                    section.bind(path, at, args, &mut includes, reading)?;
                }
            }
            _ => {
                if let Some(section) = &mut section {
                    section.rule(&words);
                }
            }
        }
    }
    finish(path, section, reading)
}

/// A frontend while it is read: its names come after its binds.
#[derive(Default)]
struct Section {
    binds: Vec<Listening>,
    /// Names that rules compare with.
    names: Vec<String>,
    /// Whether rules look at the server name of connections that are passed on undecrypted.
    passes_tls: bool,
}

struct Listening {
    bind: Bind,
    port: u16,
    ssl: bool,
    /// Names of a certificate list of this bind alone.
    names: Vec<String>,
    at: (usize, usize),
}

fn finish(path: &str, section: Option<Section>, reading: &mut Reading) -> Result<(), AdoptError> {
    let Some(section) = section else {
        return Ok(());
    };
    for listening in &section.binds {
        if !(listening.ssl || section.passes_tls) {
            continue;
        }
        let names: Vec<String> = section.names.iter().chain(&listening.names).cloned().collect();
        let source = format!("{}:{}", pki::text::escape(path), listening.at.0);
        reading
            .serve(&source, &listening.bind, listening.port, Protocol::Tls, &names)
            .map_err(|e| AdoptError::new(path, listening.at, e))?;
    }
    Ok(())
}

impl Section {
    fn bind(
        &mut self,
        path: &str,
        at: (usize, usize),
        args: &[String],
        includes: &mut Includes<'_>,
        reading: &mut Reading,
    ) -> Result<(), AdoptError> {
        let source = format!("{}:{}", pki::text::escape(path), at.0);
        let Some((addresses, options)) = args.split_first() else {
            return Err(AdoptError::new(path, at, "bind needs an address"));
        };
        let ssl = options.iter().any(|o| o == "ssl");
        if ssl && options.iter().any(|o| o == "accept-proxy") {
            reading.remark(source, "expects the PROXY protocol; add the load balancer in front of it by hand");
            return Ok(());
        }
        let mut names = Vec::new();
        for pair in options.windows(2) {
            if pair[0] == "crt-list" {
                names.extend(certificate_list(&pair[1], includes, &source, reading));
            }
        }
        for address in addresses.split(',') {
            let bare = address.strip_prefix("ipv4@").or_else(|| address.strip_prefix("ipv6@")).unwrap_or(address);
            // Sockets, inherited descriptors and QUIC are no TCP addresses.
            if bare.contains('@') || bare.starts_with('/') {
                continue;
            }
            if bare.contains('$') {
                reading.remark(source.as_str(), "binds to a variable; add its address by hand");
                continue;
            }
            let (bind, ports) = bind_address(bare)
                .ok_or_else(|| AdoptError::new(path, at, format!("{} is not an address to bind to", pki::text::escape(bare))))?;
            for port in ports {
                self.binds.push(Listening { bind: bind.clone(), port, ssl, names: names.clone(), at });
            }
            super::few_enough(self.binds.len()).map_err(|e| AdoptError::new(path, at, e))?;
        }
        Ok(())
    }

    /// Collects names from whatever compares the server name, or the host, with plain words: from
    /// `acl NAME CRITERION … VALUES` and from conditions in braces.
    fn rule(&mut self, words: &[String]) {
        if words.first().is_some_and(|w| w == "acl") {
            self.condition(words.get(2..).unwrap_or_default());
            return;
        }
        let mut rest = words;
        while let Some(open) = rest.iter().position(|w| w == "{") {
            rest = &rest[open + 1..];
            let close = rest.iter().position(|w| w == "}").unwrap_or(rest.len());
            self.condition(&rest[..close]);
            rest = &rest[close..];
        }
    }

    fn condition(&mut self, words: &[String]) {
        let Some((criterion, rest)) = words.split_first() else {
            return;
        };
        // Converters such as ",lower" do not change which name is meant.
        let sample = criterion.split(',').next().unwrap_or("").trim_start_matches('!');
        let passed_on = matches!(sample, "req.ssl_sni" | "req_ssl_sni");
        self.passes_tls |= passed_on;
        if !passed_on && !matches!(sample, "ssl_fc_sni" | "hdr(host)" | "req.hdr(host)" | "req.fhdr(host)") {
            return;
        }
        let mut values = rest.iter();
        while let Some(word) = values.next() {
            match word.as_str() {
                "-i" | "-n" | "--" => {}
                "-m" if values.as_slice().first().is_some_and(|how| how == "str") => {
                    values.next();
                }
                // Any other way of matching, or values from a file: no plain names.
                flag if flag.starts_with('-') => return,
                value => self.names.push(value.split(':').next().unwrap_or("").to_owned()),
            }
        }
    }
}

/// Names of a certificate list: `file [options] name name …`.
fn certificate_list(pattern: &str, includes: &mut Includes<'_>, source: &str, reading: &mut Reading) -> Vec<String> {
    let mut names = Vec::new();
    let texts = includes.resolve(pattern, false).and_then(|files| {
        files
            .iter()
            .map(|file| {
                let text = includes.enter(file);
                includes.leave(file);
                text
            })
            .collect::<Result<Vec<String>, String>>()
    });
    match texts {
        Err(why) => reading.remark(source, format!("crt-list was passed over: {why}")),
        Ok(texts) => {
            for line in texts.iter().flat_map(|t| t.lines()) {
                let line = line.split('#').next().unwrap_or("");
                let behind = line
                    .split_once(']')
                    .map_or_else(|| line.trim_start().split_once(char::is_whitespace).map_or("", |(_, r)| r), |(_, r)| r);
                // "!name" is an exception of a pattern.
                names.extend(behind.split_whitespace().filter(|n| !n.starts_with('!')).map(str::to_owned));
            }
        }
    }
    names
}

/// `:443`, `*:443`, `10.0.0.1:443`, `:::443`, `[::]:443`, `10.0.0.1:8000-8010`.
fn bind_address(text: &str) -> Option<(Bind, Vec<u16>)> {
    // HAProxy takes the last colon, brackets or not.
    let (host, ports) = text.rsplit_once(':')?;
    let bind = Bind::parse(host)?;
    let (low, high) = match ports.split_once('-') {
        Some((low, high)) => (parse_port(low)?, parse_port(high)?),
        None => parse_port(ports).map(|p| (p, p))?,
    };
    let ports: Vec<u16> = (low..=high).take(MAX_BIND_PORTS).collect();
    (!ports.is_empty()).then_some((bind, ports))
}

/// Words of a line with its quotes and escapes undone; none if a quote stays open.
fn words(line: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => break,
            c if c.is_whitespace() => out.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return None,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(end) if end == c => break,
                        Some(inner) => word.push(inner),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    Some(out)
}
