//! From the configurations of what runs to a store that watches it: read, looked at, written, applied as it is, and on the first day one
//! incident for all that is bad.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Span, build::Authority};
use serde_json::Value;

use crate::harness::{
    World, listener, now,
    paper::{Pair, Paper},
    process::run,
    wait,
};

/// Configurations as one finds them; `@name@` is the port of that name in this run.
const FILES: [(&str, &str); 9] = [
    ("apache2/apache2.conf", include_str!("../adopted/apache2/apache2.conf")),
    ("apache2/ports.conf", include_str!("../adopted/apache2/ports.conf")),
    ("apache2/sites-enabled/000-plain.conf", include_str!("../adopted/apache2/sites-enabled/000-plain.conf")),
    ("apache2/sites-enabled/shop.conf", include_str!("../adopted/apache2/sites-enabled/shop.conf")),
    ("haproxy/haproxy.cfg", include_str!("../adopted/haproxy/haproxy.cfg")),
    ("haproxy/certs.list", include_str!("../adopted/haproxy/certs.list")),
    ("k8s/all.yaml", include_str!("../adopted/k8s/all.yaml")),
    ("prometheus/prometheus.yml", include_str!("../adopted/prometheus/prometheus.yml")),
    ("prometheus/targets/tls.json", include_str!("../adopted/prometheus/targets/tls.json")),
];

/// The parts of one company's machines, each under its own name and on its own port.
struct Town {
    ports: BTreeMap<&'static str, u16>,
    gateway: Pair,
}

impl Town {
    fn new(paper: &Paper) -> Town {
        let stranger = {
            let from = now() - Span::days(400);
            Authority::new("Nobody's Root", from, now() + Span::days(4000)).unwrap()
        };
        let mut ports = BTreeMap::new();
        let mut serve = |name: &'static str, pair: &Pair| {
            ports.insert(name, listener::serve(&pair.chain, &pair.key).port());
        };
        // Well: 80 of 90 days are left.
        serve("www", &paper.leaf("www", &["www.shop.test", "shop.test", "static.shop.test"], Span::days(80)));
        serve("blog", &paper.leaf("blog", &["blog.shop.test"], Span::days(80)));
        serve("bare", &paper.leaf("bare", &["127.0.0.1"], Span::days(80)));
        // Bad, each in its own way: nearly over, over, for another name, of an issuer that nobody trusts.
        serve("api", &paper.leaf("api", &["api.shop.test"], Span::days(10)));
        serve("pay", &paper.leaf("pay", &["pay.shop.test"], Span::days(-2)));
        serve("old", &paper.leaf("old", &["moved.shop.test"], Span::days(80)));
        let (leaf, key) =
            stranger.leaf(&["gw.shop.test"], pki::key::KeyType::EcdsaP256, now() - Span::days(10), now() + Span::days(80)).unwrap();
        let gateway = paper.pair("gateway", leaf, key);
        serve("gw", &gateway);
        Town { ports, gateway }
    }

    /// Writes the files beside this test out, with the ports of this run.
    fn write(&self, folder: &Path) {
        let never_read = STANDARD.encode("-----BEGIN PRIVATE KEY-----\nnever read\n-----END PRIVATE KEY-----\n");
        let mut words =
            vec![("folder", folder.display().to_string()), ("gw-crt", STANDARD.encode(self.gateway.chain_pem())), ("gw-key", never_read)];
        words.extend(self.ports.iter().map(|(name, port)| (*name, port.to_string())));
        for (name, text) in FILES {
            let text = words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value));
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// Where the names lie that somebody serves; `ing.shop.test` is nowhere (RFC 6761 §6.2: nothing under `test` resolves).
    fn resolve() -> Vec<String> {
        ["www", "api", "pay", "gw", "blog", "old"]
            .iter()
            .map(|n| format!("{n}.shop.test=127.0.0.1"))
            .chain(["shop.test=127.0.0.1".to_owned()])
            .flat_map(|pair| ["--resolve".to_owned(), pair])
            .collect()
    }
}

#[test]
fn what_runs_is_adopted_and_the_first_day_ends_with_one_incident() {
    let mut world = World::sqlite("adopted");
    let folder = world.path().join("etc");
    let town = Town::new(&world.paper);
    town.write(&folder);
    let fleet = world.path().join("fleet.toml").display().to_string();
    let resolve = Town::resolve();
    let adopt = |more: &[&str]| {
        let mut command = world.command(&["adopt"]);
        for file in ["apache2/apache2.conf", "haproxy/haproxy.cfg", "k8s/all.yaml", "prometheus/prometheus.yml"] {
            command.arg(folder.join(file));
        }
        run(command.args(&resolve).args(["--owner", "web", "--out", &fleet]).args(more))
    };
    let told = adopt(&["--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let outcome: Value = serde_json::from_str(&told.out).unwrap();

    // Everything that the files name is there, with the line that it came from, and what cannot be dialled is said.
    let targets: Vec<&str> = outcome["fleet"]["targets"]
        .as_array()
        .or(outcome["fleet"]["target"].as_array())
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    let port = |name: &str| town.ports[name];
    let mut expected = vec![
        format!("127.0.0.1:{}", port("bare")),
        format!("api.shop.test:{}", port("api")),
        format!("blog.shop.test:{}", port("blog")),
        format!("gw.shop.test:{}", port("gw")),
        "ing.shop.test:443".to_owned(),
        format!("old.shop.test:{}", port("old")),
        format!("pay.shop.test:{}", port("pay")),
        format!("shop.test:{}", port("www")),
        format!("static.shop.test@2001:db8::10:{}", port("www")),
        format!("www.shop.test:{}", port("www")),
    ];
    expected.sort();
    assert_eq!(targets, expected, "{}", told.err);
    let remarks = outcome["remarks"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect::<Vec<_>>().join("\n");
    for part in ["shop.conf:2: *.cdn.shop.test is a pattern", "all.yaml:", "*.shop.test is a pattern", "of loopback alone"] {
        assert!(remarks.contains(part), "{part}: {remarks}");
    }
    let unseen: Vec<&str> = outcome["unseen"].as_array().unwrap().iter().map(|u| u["target"].as_str().unwrap()).collect();
    assert_eq!(unseen, ["ing.shop.test:443", &format!("static.shop.test@2001:db8::10:{}", port("www"))], "{told:?}");
    let text = std::fs::read_to_string(&fleet).unwrap();
    assert!(text.contains("lies in Kubernetes Secret web/gw-tls") && text.contains("sites-enabled/shop.conf:"), "{text}");
    assert!(!text.contains("never read") && !told.out.contains("never read"));

    // A second time it does not take anybody's corrections away.
    let twice = adopt(&[]);
    assert!(twice.code == 2 && twice.err.contains("add --force"), "{twice:?}");
    // What is adopted is what is applied, without a change of a letter.
    let forced = adopt(&["--force"]);
    // Comments say how much is left, which is a second less by now.
    let declared = |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let after = std::fs::read_to_string(&fleet).unwrap();
    assert!(forced.code == 0 && declared(&after) == declared(&text), "{forced:?}\n{after}");

    world.variables = vec![("SSL_CERT_FILE".into(), world.paper.root_file().display().to_string())];
    world.options.extend(resolve);
    world.start();
    world.ok(&["apply", "-f", &fleet]);
    assert!(world.ok(&["apply", "-f", &fleet]).is_empty());
    let bad = [("api", "leaf-expiring"), ("gw", "incomplete-chain"), ("old", "wrong-name"), ("pay", "expired")]
        .map(|(name, code)| (format!("{name}.shop.test:{}", port(name)), code.to_owned()));
    let incident = wait(90, "the baseline", || {
        let all = world.json(&["incident", "list", "--closed"]);
        let lines = match &all[..] {
            [one] => world.one(&["incident", "show", &one["id"].to_string()]),
            _ => return Err((all, world.log())),
        };
        let listed = |(name, _): &(String, String)| lines["lines"].as_array().unwrap().iter().any(|l| l["target"] == name.as_str());
        if bad.iter().all(listed) { Ok(lines) } else { Err((vec![lines], world.log())) }
    });
    assert!(incident["title"].as_str().unwrap().contains("already bad when"), "{incident:#}");
    assert_eq!(incident["state"], "opened");
    // All that was looked at is known, and what is well is not in it.
    let seen = wait(90, "everybody was looked at", || {
        let all = world.json(&["target", "list"]);
        let unseen = all.iter().filter(|t| t["observed_at"].is_null()).count();
        if unseen <= 2 { Ok(all) } else { Err(all) }
    });
    assert_eq!(seen.len(), expected.len() + 1, "and the store's own: {seen:#?}");
    let all = world.json(&["incident", "list", "--closed"]);
    assert_eq!(all.len(), 1, "one incident, not many: {all:#?}");
    let shown = world.one(&["incident", "show", &all[0]["id"].to_string()]);
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let mut lines: Vec<_> = shown["lines"].as_array().unwrap().iter().map(|l| (text(l, "target"), text(l, "code"))).collect();
    lines.sort();
    assert_eq!(lines, bad, "{shown:#}");
    world.stop();
}

#[test]
fn what_is_broken_is_said_with_file_and_line_and_nothing_is_written() {
    let world = World::sqlite("adopted-broken");
    let crt = STANDARD.encode("no certificate");
    // Written, asked for, what is said.
    for (files, first, said) in [
        (
            &[("httpd.conf", "Include sites/*.conf\n"), ("sites/a.conf", "# one\n<VirtualHost *:443>\n  SSLEngine on\n")][..],
            "httpd.conf",
            "sites/a.conf:2:1: <VirtualHost> is never closed",
        ),
        (
            &[("httpd2.conf", "<VirtualHost *:443>\nSSLEngine on\n</Virtualhots>\n")][..],
            "httpd2.conf",
            "httpd2.conf:3:1: </Virtualhots> closes <VirtualHost>",
        ),
        (
            &[("haproxy.cfg", "frontend a\n  bind *:443 ssl\n  acl x hdr(host) -i \"a.test\n")][..],
            "haproxy.cfg",
            "haproxy.cfg:3:3: a quote is opened here",
        ),
        (
            &[("haproxy.cfg", "frontend a\n    bind *:99999 ssl crt /x\n")][..],
            "haproxy.cfg",
            "haproxy.cfg:2:5: *:99999 is not an address to bind to",
        ),
        (&[("nginx.conf", "http {\n  server {\n    listen 443 ssl;\n")][..], "nginx.conf", "nginx.conf:2:"),
        (&[("all.yaml", "apiVersion: v1\nkind: List\nitems:\n- kind: Ingress\n  spec: {tls: [}\n")][..], "all.yaml", "all.yaml:5:"),
        (
            &[
                ("prometheus.yml", "scrape_configs:\n- job_name: a\n  params: {module: [tls]}\n  file_sd_configs: [{files: ['t.json']}]\n"),
                ("t.json", "[\n {\"targets\": [\"a.test:443\"]\n"),
            ][..],
            "prometheus.yml",
            "t.json:",
        ),
        (&[("blackbox.yml", "modules:\n  tls:\n    prober: tcp\n   tcp: {tls: true}\n")][..], "blackbox.yml", "blackbox.yml:4:"),
        (&[("targets.txt", "a.test:443\nb.test:https\n")][..], "targets.txt", "targets.txt:2:"),
    ] {
        for (name, text) in files {
            let path = world.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let out = world.path().join("broken.toml");
        let ran = run(world.command(&["adopt"]).arg(world.path().join(first)).arg("--no-look").arg("--out").arg(&out));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{first}: {ran:?}");
        assert!(ran.err.contains(said), "{first}, {said:?}: {}", ran.err);
        assert!(!out.exists(), "{first}");
    }
    // What can be passed over is, aloud.
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: broken}}\ntype: kubernetes.io/tls\ndata: {{tls.crt: {crt}}}\n");
    let yaml = world.file("secret.yaml", secret);
    let list = world.file("places", "a.test:443\n");
    let out = world.path().join("some.toml");
    let ran = run(world.command(&["adopt", &yaml, &list, "--no-look", "--out"]).arg(&out));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("secret.yaml:1: Secret default/broken holds no certificate that can be read"), "{ran:?}");
}
