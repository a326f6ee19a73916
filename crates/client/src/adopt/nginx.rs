//! nginx: `server` blocks of `http`, `stream` and `mail` that listen with TLS.

use std::rc::Rc;

use api::fleet::Protocol;

use super::files::{Files, Includes};
use super::{AdoptError, Bind, MAX_NESTING, Reading, parse_port};

pub(super) fn read(path: &str, text: &str, files: &dyn Files, reading: &mut Reading) -> Result<(), AdoptError> {
    let mut includes = Includes::new(files, path);
    let mut parser = Parser { tokens: tokens(path, text)?, next: 0, includes: &mut includes, reading };
    let tree = parser.block(None, 0)?;
    walk(&tree, &Context::default(), reading)
}

/// One directive with what follows it.
struct Directive {
    words: Vec<String>,
    block: Option<Vec<Directive>>,
    at: Place,
}

impl Directive {
    fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

#[derive(Clone)]
struct Place {
    file: Rc<str>,
    line: usize,
    column: usize,
}

impl Place {
    fn source(&self) -> String {
        format!("{}:{}", pki::text::escape(&self.file), self.line)
    }

    fn refuse(&self, message: impl Into<String>) -> AdoptError {
        AdoptError::new(&self.file, (self.line, self.column), message)
    }
}

/// What a block inherits from those around it.
#[derive(Clone, Default)]
struct Context {
    /// `ssl on;`, as before nginx 1.25.
    ssl: bool,
    mail: bool,
    starttls: bool,
    protocol: Option<Protocol>,
}

fn walk(tree: &[Directive], outer: &Context, reading: &mut Reading) -> Result<(), AdoptError> {
    let mut context = outer.clone();
    for d in tree {
        match (d.name(), d.args().first().map(String::as_str)) {
            ("ssl", Some(word)) => context.ssl = word == "on",
            ("starttls", Some(word)) => context.starttls = word != "off",
            ("protocol", Some(word)) => context.protocol = word.parse().ok(),
            _ => {}
        }
    }
    for d in tree {
        let Some(block) = &d.block else { continue };
        match d.name() {
            "server" => server(d, block, &context, reading)?,
            "mail" => walk(block, &Context { mail: true, ..context.clone() }, reading)?,
            "http" | "stream" => walk(block, &context, reading)?,
            _ => {}
        }
    }
    Ok(())
}

fn server(d: &Directive, block: &[Directive], outer: &Context, reading: &mut Reading) -> Result<(), AdoptError> {
    let source = d.at.source();
    let last = |name: &str| block.iter().rev().find(|x| x.name() == name).and_then(|x| x.args().first()).map(String::as_str);
    let ssl_on = last("ssl").map_or(outer.ssl, |word| word == "on");
    let starttls = last("starttls").map_or(outer.starttls, |word| word != "off");
    // A server that refuses every handshake exists to serve nothing.
    if last("ssl_reject_handshake") == Some("on") {
        return Ok(());
    }
    let names: Vec<String> = block
        .iter()
        .filter(|x| x.name() == "server_name")
        .flat_map(|x| x.args().iter())
        // "_" and "" are the customary ways to say "none"; ".x" is "x and *.x".
        .filter(|name| !matches!(name.as_str(), "_" | ""))
        .map(|name| name.strip_prefix('.').unwrap_or(name).to_owned())
        .collect();
    let listens = || block.iter().filter(|x| x.name() == "listen");
    super::few_enough(listens().count()).map_err(|e| d.at.refuse(e))?;
    for listen in listens() {
        let Some((address, flags)) = listen.args().split_first() else {
            continue;
        };
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        let mail = if outer.mail { last("protocol").and_then(|w| w.parse().ok()).or(outer.protocol) } else { None };
        if !(has("ssl") || ssl_on || (outer.mail && starttls)) || address.starts_with("unix:") {
            continue;
        }
        if has("proxy_protocol") {
            reading.remark(listen.at.source(), "expects the PROXY protocol; add the load balancer in front of it by hand");
            continue;
        }
        if address.contains('$') {
            reading.remark(listen.at.source(), "listens on a variable; add its address by hand");
            continue;
        }
        let (bind, port) = listen_address(address)
            .ok_or_else(|| listen.at.refuse(format!("{} is not an address to listen on", pki::text::escape(address))))?;
        let protocol = match mail {
            Some(protocol) if starttls && !(has("ssl") || ssl_on) => protocol,
            _ => Protocol::Tls,
        };
        reading.serve(&source, &bind, port, protocol, &names).map_err(|e| d.at.refuse(e))?;
    }
    Ok(())
}

/// `80`, `*:443`, `10.0.0.1`, `10.0.0.1:443`, `[::]:443`, `name:443`.
fn listen_address(text: &str) -> Option<(Bind, u16)> {
    if let Some(port) = parse_port(text) {
        return Some((Bind::Any, port));
    }
    let (host, port) = super::split_port(text)?;
    Some((Bind::parse(host)?, port.unwrap_or(80)))
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(path: &str, text: &str) -> Result<Vec<(Token, Place)>, AdoptError> {
    let file: Rc<str> = Rc::from(path);
    let mut out = Vec::new();
    let (mut line, mut column) = (1, 0);
    let mut chars = text.chars().peekable();
    // Every character passes here, so that places cannot drift.
    let step = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize, column: &mut usize| {
        let c = chars.next();
        if c == Some('\n') {
            *line += 1;
            *column = 0;
        } else {
            *column += 1;
        }
        c
    };
    while let Some(c) = step(&mut chars, &mut line, &mut column) {
        let at = Place { file: Rc::clone(&file), line, column };
        match c {
            c if c.is_whitespace() => {}
            '#' => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    step(&mut chars, &mut line, &mut column);
                }
            }
            ';' => out.push((Token::End, at)),
            '{' => out.push((Token::Open, at)),
            '}' => out.push((Token::Close, at)),
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                loop {
                    match step(&mut chars, &mut line, &mut column) {
                        None => return Err(at.refuse("a quote is opened here and never closed")),
                        Some('\\') => word.extend(step(&mut chars, &mut line, &mut column)),
                        Some(c) if c == quote => break,
                        Some(c) => word.push(c),
                    }
                }
                out.push((Token::Word(word), at));
            }
            first => {
                let mut word = String::new();
                if first == '\\' {
                    word.extend(step(&mut chars, &mut line, &mut column))
                } else {
                    word.push(first)
                }
                while let Some(c) = chars.peek().copied() {
                    // "${name}" is the one place where a brace belongs to a word.
                    let variable = c == '{' && word.ends_with('$');
                    if c.is_whitespace() || c == ';' || (c == '{' && !variable) {
                        break;
                    }
                    step(&mut chars, &mut line, &mut column);
                    match c {
                        '\\' => word.extend(step(&mut chars, &mut line, &mut column)),
                        '{' => {
                            word.push(c);
                            while let Some(c) = chars.peek().copied().filter(|c| c.is_alphanumeric() || *c == '_' || *c == '}') {
                                word.push(c);
                                step(&mut chars, &mut line, &mut column);
                                if c == '}' {
                                    break;
                                }
                            }
                        }
                        c => word.push(c),
                    }
                }
                out.push((Token::Word(word), at));
            }
        }
    }
    Ok(out)
}

struct Parser<'p, 'f> {
    tokens: Vec<(Token, Place)>,
    next: usize,
    includes: &'p mut Includes<'f>,
    reading: &'p mut Reading,
}

impl Parser<'_, '_> {
    /// Directives up to the end of the block that `opened` names, or of the file.
    fn block(&mut self, opened: Option<&Place>, depth: usize) -> Result<Vec<Directive>, AdoptError> {
        let mut out = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut begin: Option<Place> = None;
        while let Some((token, at)) = self.tokens.get_mut(self.next) {
            let at = at.clone();
            self.next += 1;
            match token {
                Token::Word(word) => {
                    begin.get_or_insert(at);
                    words.push(std::mem::take(word));
                }
                Token::End => {
                    let Some(at) = begin.take() else { continue };
                    let words = std::mem::take(&mut words);
                    if words.first().is_some_and(|w| w == "include") {
                        out.extend(self.include(words.get(1).map_or("", String::as_str), &at, depth)?);
                    } else {
                        out.push(Directive { words, block: None, at });
                    }
                }
                Token::Open => {
                    let name = begin.take().ok_or_else(|| at.refuse("a block without a name"))?;
                    if depth >= MAX_NESTING {
                        return Err(at.refuse(format!("blocks are nested more than {MAX_NESTING} levels deep")));
                    }
                    let words = std::mem::take(&mut words);
                    // Lua has a grammar of its own, in which braces and quotes mean other things.
                    if words.first().is_some_and(|w| w.ends_with("_by_lua_block")) {
                        self.skip_braces(&at)?;
                        continue;
                    }
                    let block = self.block(Some(&at), depth + 1)?;
                    out.push(Directive { words, block: Some(block), at: name });
                }
                Token::Close => {
                    if opened.is_none() {
                        return Err(at.refuse("a block is closed here that was never opened"));
                    }
                    return match begin {
                        Some(at) => Err(at.refuse("this directive does not end; add ';'")),
                        None => Ok(out),
                    };
                }
            }
        }
        match (begin, opened) {
            (Some(at), _) => Err(at.refuse("this directive does not end; add ';'")),
            (None, Some(at)) => Err(at.refuse("this block is never closed; add '}'")),
            (None, None) => Ok(out),
        }
    }

    fn skip_braces(&mut self, opened: &Place) -> Result<(), AdoptError> {
        let mut depth = 1usize;
        while let Some((token, _)) = self.tokens.get(self.next) {
            self.next += 1;
            match token {
                Token::Open => depth += 1,
                // Inside a table, a brace may stick to the word before it.
                Token::Word(word) => depth = (depth + word.matches('{').count()).saturating_sub(word.matches('}').count()),
                Token::Close => depth -= 1,
                Token::End => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(opened.refuse("this block is never closed; add '}'"))
    }

    fn include(&mut self, pattern: &str, at: &Place, depth: usize) -> Result<Vec<Directive>, AdoptError> {
        let names = match self.includes.resolve(pattern, false) {
            Ok(names) => names,
            // A file of types or parameters that was not copied along need not stop anybody.
            Err(why) => {
                self.reading.remark(at.source(), format!("include was passed over: {why}"));
                return Ok(Vec::new());
            }
        };
        let mut out = Vec::new();
        for name in names {
            let text = self.includes.enter(&name).map_err(|why| at.refuse(why))?;
            let inner_tokens = tokens(&name, &text)?;
            let outer = (std::mem::replace(&mut self.tokens, inner_tokens), std::mem::replace(&mut self.next, 0));
            // An included file is a whole block of its own; nesting goes on counting.
            let inner = self.block(None, depth);
            (self.tokens, self.next) = outer;
            self.includes.leave(&name);
            out.extend(inner?);
        }
        Ok(out)
    }
}
