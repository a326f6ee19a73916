//! Kubernetes: TLS hosts of Ingresses, TLS listeners of Gateways, and certificates in Secrets.
//!
//! Private keys are dropped while the file is parsed; see [`yaml`].

use api::fleet::Protocol;
use base64::Engine;
use pki::{Certificate, Limits, load};

use super::yaml::{self, Node};
use super::{AdoptError, Bind, Reading, Stored, parse_port};

pub(super) fn read(path: &str, text: &str, reading: &mut Reading) -> Result<(), AdoptError> {
    for document in yaml::load(path, text)? {
        // `kubectl get -o yaml` answers with one List of everything.
        if document.text_at(&["kind"]).ends_with("List") {
            for item in document.items_at(&["items"]) {
                object(path, item, reading)?;
            }
        } else {
            object(path, &document, reading)?;
        }
    }
    Ok(())
}

fn object(path: &str, node: &Node, reading: &mut Reading) -> Result<(), AdoptError> {
    match node.text_at(&["kind"]) {
        "Ingress" => ingress(path, node, reading),
        "Gateway" => gateway(path, node, reading),
        "Secret" => {
            secret(path, node, reading);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `namespace/name`, as people say it.
fn name(node: &Node) -> String {
    let namespace = node.text_at(&["metadata", "namespace"]);
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    pki::text::escape(&format!("{namespace}/{}", node.text_at(&["metadata", "name"])))
}

fn ingress(path: &str, node: &Node, reading: &mut Reading) -> Result<(), AdoptError> {
    for tls in node.items_at(&["spec", "tls"]) {
        let hosts: Vec<&Node> = tls.items_at(&["hosts"]).collect();
        if hosts.is_empty() {
            // The rule then covers every host of the Ingress.
            for rule in node.items_at(&["spec", "rules"]) {
                if let Some(host) = rule.get("host") {
                    serve(path, host, 443, reading)?;
                }
            }
        }
        for host in hosts {
            serve(path, host, 443, reading)?;
        }
    }
    Ok(())
}

/// Listeners with protocol HTTPS or TLS (Gateway API, `Listener`); both present a certificate.
fn gateway(path: &str, node: &Node, reading: &mut Reading) -> Result<(), AdoptError> {
    for listener in node.items_at(&["spec", "listeners"]) {
        if !matches!(listener.text_at(&["protocol"]), "HTTPS" | "TLS") {
            continue;
        }
        let Some(port) = parse_port(listener.text_at(&["port"])) else {
            reading.remark(listener.source(path), "a listener without a port from 1 to 65535");
            continue;
        };
        match listener.get("hostname") {
            Some(host) => serve(path, host, port, reading)?,
            None => {
                let what = format!("a listener of {} on port {port} has no hostname; add its names by hand", name(node));
                reading.remark(listener.source(path), what);
            }
        }
    }
    Ok(())
}

fn serve(path: &str, host: &Node, port: u16, reading: &mut Reading) -> Result<(), AdoptError> {
    let names = [host.text().unwrap_or("").to_owned()];
    reading
        .serve(&host.source(path), &Bind::Any, port, Protocol::Tls, &names)
        .map_err(|e| AdoptError::new(path, (host.line, host.column), e))
}

fn secret(path: &str, node: &Node, reading: &mut Reading) {
    if node.text_at(&["type"]) != "kubernetes.io/tls" {
        return;
    }
    let pem = node.text_at(&["stringData", "tls.crt"]);
    let bytes = if pem.is_empty() {
        let packed: String = node.text_at(&["data", "tls.crt"]).split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(packed).unwrap_or_default()
    } else {
        pem.as_bytes().to_vec()
    };
    let source = node.source(path);
    let leaf: Option<Certificate> = load(&bytes, None, Limits::default()).ok().and_then(|loaded| loaded.certificates.into_iter().next());
    match leaf {
        None => reading.remark(source, format!("Secret {} holds no certificate that can be read", name(node))),
        Some(leaf) => reading.stored.push(Stored {
            name: name(node),
            names: leaf.names().iter().map(ToString::to_string).collect(),
            issuer: leaf.issuer().to_owned(),
            not_after: leaf.not_after(),
            fingerprint: leaf.fingerprint(),
            source,
        }),
    }
}
