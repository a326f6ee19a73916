//! YAML (and so JSON) as a tree that knows its places, forgets keys, and cannot be blown up.
//!
//! Aliases share what they point to, and every use is counted, so that a walk over the tree is bounded
//! as well as the tree itself.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, Span};
use zeroize::Zeroize;

use super::{AdoptError, MAX_NESTING, MAX_YAML_VALUES};

/// One value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    value: Value,
    /// Values in here, with aliases counted as often as they are used.
    size: u64,
}

#[derive(Debug)]
enum Value {
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// The value of a key; a key of a merged map (`<<`) counts where there is no own one.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let own = entries.iter().find(|(k, _)| k == key);
        if let Some((_, node)) = own {
            return Some(node);
        }
        entries.iter().filter(|(k, _)| k == "<<").find_map(|(_, merged)| match &merged.value {
            Value::List(maps) => maps.iter().find_map(|m| m.get(key)),
            _ => merged.get(key),
        })
    }

    /// The value at the end of several keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The text at the end of several keys; empty where there is none.
    pub(super) fn text_at(&self, keys: &[&str]) -> &str {
        self.at(keys).and_then(Node::text).unwrap_or("")
    }

    /// The items of a list; none if it is not one.
    pub(super) fn items(&self) -> impl Iterator<Item = &Node> {
        let list: &[Rc<Node>] = match &self.value {
            Value::List(items) => items,
            _ => &[],
        };
        list.iter().map(Rc::as_ref)
    }

    /// The items of the list at the end of several keys.
    pub(super) fn items_at(&self, keys: &[&str]) -> impl Iterator<Item = &Node> {
        self.at(keys).into_iter().flat_map(Node::items)
    }

    /// The keys and values of a map; none if it is not one.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let map: &[(String, Rc<Node>)] = match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        map.iter().map(|(key, node)| (key.as_str(), node.as_ref()))
    }

    /// `file:line`.
    pub(super) fn source(&self, path: &str) -> String {
        format!("{}:{}", pki::text::escape(path), self.line)
    }
}

/// A collection that is not complete yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<String>,
    /// Whether this stands under `data` or `stringData`, where Kubernetes keeps bytes.
    holds_bytes: bool,
}

/// Every document of a file.
pub(super) fn load(path: &str, text: &str) -> Result<Vec<Rc<Node>>, AdoptError> {
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    let mut total: u64 = 0;
    for step in Parser::new_from_str(text) {
        let (event, span) = step.map_err(|e| {
            let at = (e.marker().line(), e.marker().col() + 1);
            AdoptError::new(path, at, format!("not valid YAML: {}", pki::text::escape(e.info())))
        })?;
        let at = position(&span);
        let refuse = |message: String| AdoptError::new(path, at, message);
        let complete = match event {
            Event::Scalar(text, _, anchor, _) => {
                let mut text = text.into_owned();
                if open.last().is_some_and(forgets) {
                    text.zeroize();
                }
                Some((node(at, Value::Scalar(text)), anchor))
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if open.len() >= MAX_NESTING => {
                let _ = anchor;
                return Err(refuse(format!("values are nested more than {MAX_NESTING} levels deep")));
            }
            Event::SequenceStart(anchor, _) => {
                open.push(Open { node: node(at, Value::List(Vec::new())), anchor, key: None, holds_bytes: false });
                None
            }
            Event::MappingStart(anchor, _) => {
                let holds_bytes = open.last().and_then(|o| o.key.as_deref()).is_some_and(|k| k == "data" || k == "stringData");
                open.push(Open { node: node(at, Value::Map(Vec::new())), anchor, key: None, holds_bytes });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|o| (o.node, o.anchor)),
            Event::Alias(anchor) => {
                let shared = anchors.get(&anchor).cloned();
                let shared = shared.ok_or_else(|| refuse("an alias points into itself or to nothing".to_owned()))?;
                total = total.saturating_add(shared.size);
                put(&mut open, &mut documents, shared);
                None
            }
            Event::DocumentEnd => {
                // Anchors live as long as their document (YAML 1.2.2 §3.2.2.2).
                anchors.clear();
                None
            }
            _ => None,
        };
        if let Some((node, anchor)) = complete {
            total = total.saturating_add(1);
            let node = Rc::new(node);
            if anchor > 0 {
                anchors.insert(anchor, Rc::clone(&node));
            }
            put(&mut open, &mut documents, node);
        }
        if total > MAX_YAML_VALUES {
            return Err(refuse(format!("more than {MAX_YAML_VALUES} values, aliases counted; adopt in parts")));
        }
    }
    Ok(documents)
}

fn node((line, column): (usize, usize), value: Value) -> Node {
    Node { line, column, value, size: 1 }
}

fn position(span: &Span) -> (usize, usize) {
    (span.start.line().max(1), span.start.col() + 1)
}

/// Private keys, and whatever else lies where Kubernetes keeps bytes, are dropped the moment they are
/// met: what is not there cannot be printed. The annotation is a copy of the whole object.
fn forgets(open: &Open) -> bool {
    const COPY_OF_ALL: &str = "kubectl.kubernetes.io/last-applied-configuration";
    match open.key.as_deref() {
        Some("tls.key" | COPY_OF_ALL) => true,
        Some(key) => open.holds_bytes && key != "tls.crt",
        None => false,
    }
}

/// Gives a complete value to whatever is open around it.
fn put(open: &mut [Open], documents: &mut Vec<Rc<Node>>, node: Rc<Node>) {
    let Some(parent) = open.last_mut() else {
        documents.push(node);
        return;
    };
    parent.node.size = parent.node.size.saturating_add(node.size);
    match &mut parent.node.value {
        Value::List(items) => items.push(node),
        Value::Map(entries) => match parent.key.take() {
            // A key that is not a scalar belongs to nothing that is read here; it stays as "".
            None => parent.key = Some(node.text().unwrap_or("").to_owned()),
            Some(key) => entries.push((key, node)),
        },
        Value::Scalar(_) => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn values_know_where_they_are() {
        let documents = load("f", "a:\n  - x\n  - {b: 'y'}\n---\n{\"c\": [1,\t2]}\n").unwrap();
        assert_eq!(documents.len(), 2);
        let second = documents[0].items_at(&["a"]).nth(1).unwrap();
        assert_eq!((second.text_at(&["b"]), second.line, second.column), ("y", 3, 5));
        assert_eq!(documents[1].items_at(&["c"]).filter_map(Node::text).collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn merged_and_aliased_maps_are_found() {
        let documents = load("f", "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: [{z: 9}, *b]}\n").unwrap();
        assert_eq!(documents[0].text_at(&["one", "x"]), "1");
        assert_eq!(documents[0].text_at(&["one", "y"]), "3");
        assert_eq!(documents[0].text_at(&["two", "z"]), "9");
        assert_eq!(documents[0].text_at(&["two", "y"]), "2");
    }

    #[test]
    fn bombs_and_towers_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..30 {
            let alias = format!("*a{}", i - 1);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![alias; 9].join(",")));
        }
        assert!(load("f", &bomb).unwrap_err().message.contains("aliases counted"));
        assert!(load("f", &"[".repeat(200)).unwrap_err().message.contains("nested"));
        assert!(load("f", &"- ".repeat(200)).unwrap_err().message.contains("nested"));
        assert!(load("f", "a: &a [*a]").is_err());
        assert_eq!(load("f", "a: [1\nb: }").unwrap_err().line, 2);
    }

    #[test]
    fn keys_are_forgotten_on_the_way_in() {
        let text = "kind: Secret\nmetadata:\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: SECRET-KEY\ndata:\n  tls.crt: cert\n  tls.key: SECRET-KEY\n  other: SECRET-KEY\nstringData: {tls.key: SECRET-KEY}\nx: {tls.key: SECRET-KEY}\n";
        let tree = load("f", text).unwrap();
        assert!(!format!("{tree:?}").contains("SECRET-KEY"), "{tree:?}");
        assert_eq!(tree[0].text_at(&["data", "tls.crt"]), "cert");
    }
}
