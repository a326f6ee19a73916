//! Prometheus: scrape jobs over HTTPS, and jobs that let a blackbox_exporter look at something else.

use std::collections::BTreeMap;

use api::fleet::{Protocol, check_host};

use super::files::{Files, Includes};
use super::yaml::{self, Node};
use super::{AdoptError, Found, Reading, split_port, usual_protocol};

/// What blackbox modules do, by name. Without their configuration, only names and ports tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules(BTreeMap<String, Module>);

impl Modules {
    /// Adds the modules of another configuration; the later one wins.
    pub fn extend(&mut self, more: Modules) {
        self.0.extend(more.0);
    }

    /// The module of this name, or what its name tells.
    fn get(&self, name: &str) -> Module {
        self.0.get(name).cloned().unwrap_or_else(|| Module::by_name(name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    speaks: Speaks,
    server_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// HTTP: the address says whether it is encrypted.
    Http,
    /// TLS from the first byte.
    Tls,
    /// STARTTLS; the protocol where it is evident, else by port.
    StartTls(Option<Protocol>),
    /// Nothing that shows a certificate.
    Nothing,
    /// Nobody said.
    Unknown,
}

impl Module {
    /// The names of the exporter's own example configuration, and those that people make after it.
    fn by_name(name: &str) -> Module {
        let lower = name.to_lowercase();
        let has = |word: &str| lower.contains(word);
        let evident = [
            ("smtp", Protocol::Smtp),
            ("imap", Protocol::Imap),
            ("pop3", Protocol::Pop3),
            ("ldap", Protocol::Ldap),
            ("postgres", Protocol::Postgres),
            ("mysql", Protocol::Mysql),
            ("xmpp", Protocol::Xmpp),
        ];
        let protocol = evident.iter().find(|(word, _)| has(word)).map(|(_, p)| *p);
        let implicit = ["smtps", "imaps", "pop3s", "ldaps"].iter().any(|word| has(word));
        let speaks = if implicit {
            Speaks::Tls
        } else if has("starttls") || protocol.is_some() {
            Speaks::StartTls(protocol)
        } else if has("http") {
            Speaks::Http
        } else if has("tls") || has("ssl") {
            Speaks::Tls
        } else if has("icmp") || has("ping") || has("dns") || has("ssh") || has("irc") || has("tcp") {
            Speaks::Nothing
        } else {
            Speaks::Unknown
        };
        Module { speaks, server_name: None }
    }
}

/// Reads a blackbox_exporter's own configuration.
pub(super) fn modules(path: &str, text: &str) -> Result<Modules, AdoptError> {
    let mut out = Modules::default();
    for document in yaml::load(path, text)? {
        for (name, module) in document.get("modules").into_iter().flat_map(Node::entries) {
            let prober = module.text_at(&["prober"]);
            let section = module.get(if prober.is_empty() { "tcp" } else { prober });
            let steps = || section.into_iter().flat_map(|s| s.items_at(&["query_response"]));
            let starttls = steps().any(|step| step.text_at(&["starttls"]) == "true");
            let speaks = match prober {
                "http" => Speaks::Http,
                "tcp" if starttls => Speaks::StartTls(dialogue(steps()).or(match Module::by_name(name).speaks {
                    Speaks::StartTls(protocol) => protocol,
                    _ => None,
                })),
                "tcp" if section.is_some_and(|s| s.text_at(&["tls"]) == "true") => Speaks::Tls,
                _ => Speaks::Nothing,
            };
            let server_name = section.map(|s| s.text_at(&["tls_config", "server_name"])).filter(|n| !n.is_empty());
            out.0.insert(name.to_owned(), Module { speaks, server_name: server_name.map(str::to_owned) });
        }
    }
    Ok(out)
}

/// The protocol that a dialogue before STARTTLS belongs to.
fn dialogue<'n>(steps: impl Iterator<Item = &'n Node>) -> Option<Protocol> {
    let mut said = String::new();
    for step in steps {
        said.push_str(&step.text_at(&["send"]).to_uppercase());
        said.push('\n');
    }
    // RFC 3207, RFC 2595 §4, RFC 9051 §6.2.1 (whose commands carry a tag), RFC 6120 §5.
    if said.contains("EHLO") {
        Some(Protocol::Smtp)
    } else if said.contains("STLS") {
        Some(Protocol::Pop3)
    } else if said.contains("<STARTTLS") || said.contains("<STREAM") {
        Some(Protocol::Xmpp)
    } else if said.lines().any(|l| l.split_whitespace().nth(1) == Some("STARTTLS")) {
        Some(Protocol::Imap)
    } else {
        None
    }
}

pub(super) fn read(path: &str, text: &str, files: &dyn Files, modules: &Modules, reading: &mut Reading) -> Result<(), AdoptError> {
    let mut includes = Includes::new(files, path);
    for document in yaml::load(path, text)? {
        for job in document.items_at(&["scrape_configs"]) {
            let job = Job::of(job, modules);
            for group in job.node.items_at(&["static_configs"]) {
                job.group(path, group, modules, reading)?;
            }
            for pattern in job.node.items_at(&["file_sd_configs"]).flat_map(|sd| sd.items_at(&["files"])) {
                job.target_files(path, pattern, &mut includes, modules, reading)?;
            }
        }
    }
    Ok(())
}

/// A target file alone: nothing says how it is scraped, so only addresses and ports tell.
pub(super) fn read_file_sd(path: &str, text: &str, reading: &mut Reading) -> Result<(), AdoptError> {
    let documents = yaml::load(path, text)?;
    let Some(first) = documents.first() else {
        return Ok(());
    };
    let unknown = Module { speaks: Speaks::Unknown, server_name: None };
    let job = Job { node: first, module: unknown };
    for group in documents.iter().flat_map(|d| d.items()) {
        job.group(path, group, &Modules::default(), reading)?;
    }
    Ok(())
}

/// One scrape job, and what it speaks with its targets.
struct Job<'n> {
    node: &'n Node,
    module: Module,
}

impl<'n> Job<'n> {
    fn of(node: &'n Node, modules: &Modules) -> Job<'n> {
        let named = node.items_at(&["params", "module"]).find_map(Node::text);
        // The relabelling of the exporter's manual: the target becomes a parameter of the probe.
        let relabelled = node.items_at(&["relabel_configs"]).any(|r| r.text_at(&["target_label"]) == "__param_target");
        let server_name = Some(node.text_at(&["tls_config", "server_name"])).filter(|n| !n.is_empty()).map(str::to_owned);
        let module = match named {
            Some(name) => modules.get(name),
            None if relabelled || node.text_at(&["metrics_path"]) == "/probe" => Module { speaks: Speaks::Unknown, server_name },
            None if node.text_at(&["scheme"]) == "https" => Module { speaks: Speaks::Tls, server_name },
            None => Module { speaks: Speaks::Nothing, server_name: None },
        };
        Job { node, module }
    }

    fn group(&self, path: &str, group: &Node, modules: &Modules, reading: &mut Reading) -> Result<(), AdoptError> {
        let labels = group.get("labels");
        let label = |name: &str| labels.map(|l| l.text_at(&[name])).filter(|text| !text.is_empty());
        let mut module = match label("__param_module").or(label("module")) {
            Some(name) => modules.get(name),
            None => self.module.clone(),
        };
        if label("__scheme__") == Some("https") && module.speaks == Speaks::Nothing {
            module.speaks = Speaks::Tls;
        }
        for target in group.items_at(&["targets"]) {
            let source = target.source(path);
            match target.text().map(|text| place(text.trim(), &module, &source)) {
                Some(Ok(Some(found))) => reading.add(found).map_err(|e| AdoptError::new(path, (target.line, target.column), e))?,
                Some(Ok(None)) => {}
                Some(Err(why)) => reading.remark(source, why),
                None => reading.remark(source, "a target is a text"),
            }
        }
        Ok(())
    }

    fn target_files(
        &self,
        path: &str,
        pattern: &Node,
        includes: &mut Includes<'_>,
        modules: &Modules,
        reading: &mut Reading,
    ) -> Result<(), AdoptError> {
        let refuse = |why: String| AdoptError::new(path, (pattern.line, pattern.column), why);
        let names = match includes.resolve(pattern.text().unwrap_or(""), false) {
            Ok(names) => names,
            Err(why) => {
                reading.remark(pattern.source(path), format!("target file was passed over: {why}"));
                return Ok(());
            }
        };
        for name in names {
            let text = includes.enter(&name).map_err(refuse)?;
            includes.leave(&name);
            for group in yaml::load(&name, &text)?.iter().flat_map(|d| d.items()) {
                self.group(&name, group, modules, reading)?;
            }
        }
        Ok(())
    }
}

/// The place that a target stands for; none where it plainly shows no certificate.
fn place(text: &str, module: &Module, source: &str) -> Result<Option<Found>, String> {
    let shown = pki::text::escape(text);
    let (encrypted, rest) = match text.split_once("://") {
        Some(("https", rest)) => (Some(true), rest),
        Some(("http", rest)) => (Some(false), rest),
        Some(("tcp", rest)) => (None, rest),
        Some(_) => return Err(format!("{shown} is an address of an unknown kind")),
        None => (None, text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // "user:password@host": the password is not repeated anywhere.
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split_port(authority).ok_or_else(|| format!("{shown} is not host and port"))?;
    let by_port = port.and_then(usual_protocol);
    let protocol = match (encrypted, module.speaks) {
        (Some(true), _) => Protocol::Tls,
        (Some(false), _) | (None, Speaks::Nothing) => return Ok(None),
        // The exporter reads a bare host as http://; what is meant by port 443 is plain all the same.
        (None, Speaks::Http) if by_port == Some(Protocol::Tls) => Protocol::Tls,
        (None, Speaks::Http) => return Ok(None),
        (None, Speaks::Tls) => Protocol::Tls,
        (None, Speaks::StartTls(Some(protocol))) => protocol,
        (None, Speaks::StartTls(None)) => match by_port {
            Some(protocol) if protocol != Protocol::Tls => protocol,
            _ => {
                return Err(format!("{shown} is asked for STARTTLS by a module that does not tell of which protocol; add it by hand"));
            }
        },
        (None, Speaks::Unknown) => match by_port {
            Some(protocol) => protocol,
            None => {
                return Err(format!("nothing tells whether {shown} speaks TLS; add it by hand"));
            }
        },
    };
    let port = match port {
        Some(port) => port,
        None if protocol == Protocol::Tls => 443,
        None => return Err(format!("{shown} has no port")),
    };
    let host = check_host(host).map_err(|e| e.to_string())?;
    let server_name = module.server_name.clone().and_then(|n| api::fleet::check_dns_name(&n).ok()).filter(|n| *n != host);
    Ok(Some(Found { host, port, protocol, server_name, source: source.to_owned(), declared: true }))
}
