//! Which kind of configuration a file is, from its name and its content.

use std::path::Path;
use std::str::FromStr;

use super::{AdoptError, yaml};

/// The configurations that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Prometheus configuration with scrape jobs.
    Prometheus,
    /// A Prometheus target file, JSON or YAML.
    FileSd,
    /// The modules of a blackbox_exporter.
    Blackbox,
    /// nginx.
    Nginx,
    /// Apache httpd.
    Apache,
    /// HAProxy.
    Haproxy,
    /// Kubernetes manifests.
    Kubernetes,
    /// One place per line.
    List,
}

const WORDS: [(&str, Kind); 8] = [
    ("prometheus", Kind::Prometheus),
    ("file-sd", Kind::FileSd),
    ("blackbox", Kind::Blackbox),
    ("nginx", Kind::Nginx),
    ("apache", Kind::Apache),
    ("haproxy", Kind::Haproxy),
    ("kubernetes", Kind::Kubernetes),
    ("list", Kind::List),
];

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        WORDS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind).ok_or_else(|| {
            let all: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            format!("{} is not a kind of configuration; use one of {}", pki::text::escape(text), all.join(", "))
        })
    }
}

/// Tells the kind of a file.
///
/// # Errors
/// Where nothing tells, or where YAML is needed and is broken.
pub fn detect(path: &str, text: &str) -> Result<Kind, AdoptError> {
    let name = Path::new(path).file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    if matches!(extension, "yml" | "yaml" | "json") {
        return of_yaml(path, text);
    }
    let words = || text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let lower = path.to_lowercase();
    let begins = |line: &str, words: &[&str]| {
        let first = line.split_whitespace().next().unwrap_or("");
        words.contains(&first)
    };
    if words().any(|l| l.get(..12).is_some_and(|w| w.eq_ignore_ascii_case("<virtualhost"))) {
        return Ok(Kind::Apache);
    }
    // nginx ends its directives with ';' or opens blocks with '{'; HAProxy does neither.
    let nginx = |l: &str| {
        begins(l, &["server", "http", "stream", "mail", "listen", "include", "upstream", "events"]) && (l.contains('{') || l.contains(';'))
    };
    if words().any(nginx) {
        return Ok(Kind::Nginx);
    }
    if words().any(|l| begins(l, &["frontend", "backend", "defaults", "global", "listen"])) {
        return Ok(Kind::Haproxy);
    }
    for (word, kind) in [("nginx", Kind::Nginx), ("haproxy", Kind::Haproxy), ("apache", Kind::Apache), ("httpd", Kind::Apache)] {
        if lower.contains(word) && extension != "txt" {
            return Ok(kind);
        }
    }
    if words().any(|l| l.starts_with("apiVersion:") || l.starts_with("scrape_configs:") || l.starts_with("modules:")) {
        return of_yaml(path, text);
    }
    let is_place = |l: &str| {
        let l = l.split('#').next().unwrap_or("").trim();
        super::range::looks_like_one(l) || super::list::place(l, "").is_ok()
    };
    // Most is enough: in a list with a mistake the mistake is what people want to hear of.
    let (good, all) = words().take(20).fold((0, 0), |(good, all), line| (good + usize::from(is_place(line)), all + 1));
    if all == 0 || good * 2 >= all && good > 0 {
        return Ok(Kind::List);
    }
    Err(unknown(path))
}

fn of_yaml(path: &str, text: &str) -> Result<Kind, AdoptError> {
    for document in yaml::load(path, text)? {
        if document.get("scrape_configs").is_some() {
            return Ok(Kind::Prometheus);
        }
        if document.get("modules").is_some() {
            return Ok(Kind::Blackbox);
        }
        if document.get("kind").is_some() && document.get("apiVersion").is_some() {
            return Ok(Kind::Kubernetes);
        }
        if document.items().next().is_some_and(|first| first.get("targets").is_some()) {
            return Ok(Kind::FileSd);
        }
    }
    Err(unknown(path))
}

fn unknown(path: &str) -> AdoptError {
    let message = "cannot tell what kind of configuration this is; say it with --from KIND:PATH, such as --from nginx:site.conf";
    AdoptError::new(path, (1, 1), message)
}
