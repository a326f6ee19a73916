#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use base64::Engine;
use pki::{Authority, KeyType};
use proptest::prelude::*;

use super::*;

/// Files that only exist here.
#[derive(Default)]
pub(super) struct Memory(pub(super) BTreeMap<String, String>);

impl Memory {
    pub(super) fn of(files: &[(&str, &str)]) -> Memory {
        Memory(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|t| t.clone().into_bytes()).ok_or_else(|| "no such file".to_owned())
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, String> {
        let depth = pattern.matches('/').count();
        Ok(self.0.keys().filter(|p| p.matches('/').count() == depth && files::fits(pattern, p)).cloned().collect())
    }
}

/// Everything that a reading holds, a line each.
fn show(reading: &Reading) -> String {
    let mut out = String::new();
    for f in &reading.found {
        let name = f.server_name.as_ref().map(|n| format!(" asked for {n}")).unwrap_or_default();
        out.push_str(&format!("{} {}://{} {}{name}\n", f.source, f.protocol, f.host, f.port));
    }
    for s in &reading.stored {
        out.push_str(&format!("{} holds {} {:?} {}\n", s.source, s.name, s.names, s.not_after));
    }
    for r in &reading.remarks {
        out.push_str(&format!("passed over {r}\n"));
    }
    out
}

fn reading_of(kind: Kind, files: &[(&str, &str)]) -> Result<Reading, AdoptError> {
    let files = Memory::of(files);
    let path = files.0.keys().next().unwrap().clone();
    let mut reading = Reading::default();
    read(kind, &path, &files, &Modules::default(), &mut reading).map(|()| reading)
}

/// Reads the first file in the order of names; the others are what it includes.
fn shown(kind: Kind, files: &[(&str, &str)]) -> String {
    match reading_of(kind, files) {
        Ok(reading) => show(&reading),
        Err(e) => format!("{e}\n"),
    }
}

#[test]
fn a_plain_list() {
    insta::assert_snapshot!(shown(Kind::List, &[("hosts.txt", "
# our edge
www.Example.com
smtp://mail.example.com   # STARTTLS
db.example.com:5432
www.example.com:443@10.0.0.5
[2001:db8::1]:8443
https://shop.example.com/cart?x=1
10.0.0.8/31:443
")]), @r#"
    hosts.txt:3 tls://www.example.com 443
    hosts.txt:4 smtp://mail.example.com 25
    hosts.txt:5 postgres://db.example.com 5432
    hosts.txt:6 tls://10.0.0.5 443 asked for www.example.com
    hosts.txt:7 tls://2001:db8::1 8443
    hosts.txt:8 tls://shop.example.com 443
    hosts.txt:9 tls://10.0.0.8 443
    hosts.txt:9 tls://10.0.0.9 443
    "#);
    for (line, column) in [("ftp://x", 1), ("  a b", 3), ("host:99999", 1), ("http://plain.example", 1), ("x@y", 1), ("10.0.0.0/8:1-9", 1)]
    {
        let e = reading_of(Kind::List, &[("l", line)]).unwrap_err();
        assert_eq!((e.line, e.column), (1, column), "{line}");
    }
}

#[test]
fn nginx_with_sites_streams_and_mail() {
    let main = r#"
user www-data;
events { worker_connections 768; }
http {
    include mime.types;
    server {
        listen 80 default_server;
        server_name www.example.com;
        return 301 https://$host$request_uri;
    }
    include /etc/nginx/sites-enabled/*;
    log_format main '$remote_addr - "quoted; { not a block" #not a comment';
    map $http_upgrade $connection { default upgrade; '' close; }
    server { # the default
        listen 443 ssl default_server;
        listen [::]:443 ssl default_server;
        server_name _;
        ssl_reject_handshake on;
    }
}
stream {
    server { listen 10.0.0.5:5432 ssl; proxy_pass db; }
    server { listen 9000 ssl; }
    server { listen 9001; ssl_preread on; }
}
mail {
    server_name mail.example.com;
    starttls on;
    server { listen 203.0.113.7:25; protocol smtp; server_name mx.example.com; }
    server { listen 203.0.113.7:993 ssl; protocol imap; }
}
"#;
    let site = r#"server {
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    listen 203.0.113.7:8443 ssl;
    listen 127.0.0.1:9443 ssl;
    listen unix:/run/x.sock ssl;
    listen 10.1.1.1:443 ssl proxy_protocol;
    server_name www.example.com "api.example.com" *.wild.example.com ~^(?<user>.+)\.example\.net$ $hostname .dotted.example.com;
    include snippets/tls.conf;
    location ~ \.php$ { fastcgi_pass unix:/run/php.sock; if ($request_method = POST) { return 405; } }
    content_by_lua_block { local t = { a = 1, "x" } if t then ngx.say("hi") end }
}
server { listen 8443; ssl on; server_name old.example.com; }
"#;
    insta::assert_snapshot!(shown(Kind::Nginx, &[
        ("/etc/nginx/nginx.conf", main),
        ("/etc/nginx/sites-enabled/www", site),
        ("/etc/nginx/snippets/tls.conf", "ssl_protocols TLSv1.2 TLSv1.3;\n"),
    ]), @r#"
    /etc/nginx/sites-enabled/www:1 tls://api.example.com 443
    /etc/nginx/sites-enabled/www:1 tls://dotted.example.com 443
    /etc/nginx/sites-enabled/www:1 tls://www.example.com 443
    /etc/nginx/sites-enabled/www:1 tls://api.example.com 443
    /etc/nginx/sites-enabled/www:1 tls://dotted.example.com 443
    /etc/nginx/sites-enabled/www:1 tls://www.example.com 443
    /etc/nginx/sites-enabled/www:1 tls://203.0.113.7 8443 asked for api.example.com
    /etc/nginx/sites-enabled/www:1 tls://203.0.113.7 8443 asked for dotted.example.com
    /etc/nginx/sites-enabled/www:1 tls://203.0.113.7 8443 asked for www.example.com
    /etc/nginx/sites-enabled/www:13 tls://old.example.com 8443
    /etc/nginx/nginx.conf:22 tls://10.0.0.5 5432
    /etc/nginx/nginx.conf:29 smtp://203.0.113.7 25 asked for mx.example.com
    /etc/nginx/nginx.conf:30 tls://203.0.113.7 993
    passed over /etc/nginx/nginx.conf:5: include was passed over: there is no file mime.types
    passed over /etc/nginx/sites-enabled/www:1: *.wild.example.com is a pattern; add the names that it stands for by hand
    passed over /etc/nginx/sites-enabled/www:1: ~^(?<user>.+).example.net$ is a pattern; add the names that it stands for by hand
    passed over /etc/nginx/sites-enabled/www:1: $hostname is a pattern; add the names that it stands for by hand
    passed over /etc/nginx/sites-enabled/www:1: listens on port 9443 of loopback alone; nobody outside meets it
    passed over /etc/nginx/sites-enabled/www:7: expects the PROXY protocol; add the load balancer in front of it by hand
    passed over /etc/nginx/nginx.conf:23: listens on port 9000 of every address and has no name that could be dialled; add its address by hand
    "#);
}

#[test]
fn nginx_says_where_it_is_broken() {
    for (text, expected) in [
        ("http {\n  server {\n", "2:10: this block is never closed; add '}'"),
        ("http { }\n}\n", "2:1: a block is closed here that was never opened"),
        ("server {\n listen 443 ssl\n}", "2:2: this directive does not end; add ';'"),
        ("a 'b\n;", "1:3: a quote is opened here and never closed"),
        ("server { listen :x ssl; }", "1:10: :x is not an address to listen on"),
        ("{ }", "1:1: a block without a name"),
        ("include main;", "1:1: main includes itself"),
    ] {
        let e = reading_of(Kind::Nginx, &[("main", text)]).unwrap_err();
        assert_eq!(e.to_string(), format!("main:{expected}"), "{text}");
    }
    let tower = "a {".repeat(500);
    assert!(reading_of(Kind::Nginx, &[("main", &tower)]).unwrap_err().message.contains("nested more than 64"));
    let loop_of_two = [("a", "include b;"), ("b", "include a;")];
    assert!(reading_of(Kind::Nginx, &loop_of_two).unwrap_err().message.contains("includes itself"));
    // Each file includes the next one twice: two to the sixteenth without a bound.
    let names: Vec<String> = (0..15).map(|i| format!("f{i:02}")).collect();
    let texts: Vec<String> = (1..=15).map(|i| format!("include f{i:02}; include f{i:02};")).collect();
    let flood: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).chain([("f15", "")]).collect();
    assert!(reading_of(Kind::Nginx, &flood).unwrap_err().message.contains("more than 1000 files"));
}

#[test]
fn apache_virtual_hosts() {
    let main = r#"
ServerRoot "/etc/apache2"
Define DOMAIN example.com
Listen 443
<IfModule mod_ssl.c>
    IncludeOptional sites/*.conf
</IfModule>
Include missing.conf
<VirtualHost *:80>
    ServerName plain.${DOMAIN}
</VirtualHost>
"#;
    let site = r#"
<VirtualHost 203.0.113.7:443 [2001:db8::7]:443>
    ServerName www.${DOMAIN}
    ServerAlias shop.${DOMAIN} \
        *.wild.${DOMAIN} ${UNDEFINED}
    sslengine On
    <Directory "/var/www">
        Require all granted
    </Directory>
</VirtualHost>
<virtualhost _default_:*>
    ServerName https://alt.example.com:8443
    SSLEngine on
</virtualhost>
<VirtualHost *:443>
    SSLEngine on
</VirtualHost>
<VirtualHost *:443>
    ServerName upgrade.example.com
    SSLEngine optional
</VirtualHost>
"#;
    insta::assert_snapshot!(shown(Kind::Apache, &[("/etc/apache2/apache2.conf", main), ("/etc/apache2/sites/www.conf", site)]), @r#"
    /etc/apache2/sites/www.conf:2 tls://203.0.113.7 443 asked for shop.example.com
    /etc/apache2/sites/www.conf:2 tls://203.0.113.7 443 asked for www.example.com
    /etc/apache2/sites/www.conf:2 tls://2001:db8::7 443 asked for shop.example.com
    /etc/apache2/sites/www.conf:2 tls://2001:db8::7 443 asked for www.example.com
    /etc/apache2/sites/www.conf:11 tls://alt.example.com 8443
    passed over /etc/apache2/apache2.conf:8: include was passed over: there is no file missing.conf
    passed over /etc/apache2/sites/www.conf:2: *.wild.example.com is a pattern; add the names that it stands for by hand
    passed over /etc/apache2/sites/www.conf:2: ${UNDEFINED} is a pattern; add the names that it stands for by hand
    passed over /etc/apache2/sites/www.conf:15: listens on port 443 of every address and has no name that could be dialled; add its address by hand
    "#);
    for (text, expected) in [
        ("<VirtualHost *:443>\n", "1:1: <VirtualHost> is never closed; add </VirtualHost>"),
        ("</VirtualHost>", "1:1: </VirtualHost> closes nothing"),
        ("<A>\n  </B>", "2:3: </B> closes <A>"),
        ("<A", "1:1: a section begins with '<' and ends with '>'"),
        ("Include c", "1:1: c includes itself"),
    ] {
        assert_eq!(reading_of(Kind::Apache, &[("c", text)]).unwrap_err().to_string(), format!("c:{expected}"));
    }
}

#[test]
fn haproxy_frontends() {
    let main = r#"
global
    log /dev/log local0
defaults
    mode http
frontend web
    bind :80
    bind *:443 ssl crt /etc/ssl/site.pem alpn h2,http/1.1
    bind 203.0.113.7:8443,[2001:db8::7]:8443 ssl crt-list /etc/haproxy/crts.txt
    bind /run/haproxy.sock ssl crt x
    bind quic4@:443 ssl crt x
    bind "${ADDRESS}:443" ssl crt x
    bind 10.0.0.1:443 ssl crt x accept-proxy
    acl is_shop hdr(host) -i shop.example.com
    acl is_any ssl_fc_sni_end .example.com
    acl is_many req.hdr(host),lower -m end .example.org
    acl from_file hdr(host) -f /etc/haproxy/hosts
    use_backend api if { ssl_fc_sni -i api.example.com } !is_shop
listen passthrough
    mode tcp
    bind 203.0.113.9:443
    use_backend a if { req.ssl_sni -i a.example.com b.example.com }
frontend nameless
    bind :9443 ssl crt x
backend api
    server one 10.0.0.2:443 ssl verify required
"#;
    insta::assert_snapshot!(shown(Kind::Haproxy, &[
        ("/etc/haproxy/a.cfg", main),
        ("/etc/haproxy/crts.txt", "# list\n/etc/ssl/a.pem [alpn h2] listed.example.com !not.example.com\n/etc/ssl/b.pem two.example.com\n/etc/ssl/c.pem\n"),
    ]), @r#"
    /etc/haproxy/a.cfg:8 tls://api.example.com 443
    /etc/haproxy/a.cfg:8 tls://shop.example.com 443
    /etc/haproxy/a.cfg:9 tls://203.0.113.7 8443 asked for api.example.com
    /etc/haproxy/a.cfg:9 tls://203.0.113.7 8443 asked for listed.example.com
    /etc/haproxy/a.cfg:9 tls://203.0.113.7 8443 asked for shop.example.com
    /etc/haproxy/a.cfg:9 tls://203.0.113.7 8443 asked for two.example.com
    /etc/haproxy/a.cfg:9 tls://2001:db8::7 8443 asked for api.example.com
    /etc/haproxy/a.cfg:9 tls://2001:db8::7 8443 asked for listed.example.com
    /etc/haproxy/a.cfg:9 tls://2001:db8::7 8443 asked for shop.example.com
    /etc/haproxy/a.cfg:9 tls://2001:db8::7 8443 asked for two.example.com
    /etc/haproxy/a.cfg:21 tls://203.0.113.9 443 asked for a.example.com
    /etc/haproxy/a.cfg:21 tls://203.0.113.9 443 asked for b.example.com
    passed over /etc/haproxy/a.cfg:12: binds to a variable; add its address by hand
    passed over /etc/haproxy/a.cfg:13: expects the PROXY protocol; add the load balancer in front of it by hand
    passed over /etc/haproxy/a.cfg:24: listens on port 9443 of every address and has no name that could be dialled; add its address by hand
    "#);
    for (text, expected) in [
        ("frontend a\n  bind", "2:3: bind needs an address"),
        ("frontend a\n bind 10.0.0.1 ssl", "2:2: 10.0.0.1 is not an address to bind to"),
        ("frontend a\n bind \"x", "2:2: a quote is opened here and never closed"),
    ] {
        assert_eq!(reading_of(Kind::Haproxy, &[("h", text)]).unwrap_err().to_string(), format!("h:{expected}"));
    }
}

const BLACKBOX_JOBS: &str = r#"
global: {scrape_interval: 15s}
scrape_configs:
  - job_name: web
    metrics_path: /probe
    params: {module: [http_2xx]}
    static_configs:
      - targets: &sites
          - https://www.example.com/health
          - https://user:secret@shop.example.com:8443/
          - http://plain.example.com
          - bare.example.com
    relabel_configs:
      - source_labels: [__address__]
        target_label: __param_target
  - job_name: again
    params: {module: [http_2xx]}
    static_configs: [{targets: *sites}]
  - job_name: mail
    metrics_path: /probe
    params: {module: [smtp_starttls]}
    static_configs:
      - targets: ['mx.example.com:25']
      - targets: ['mx.example.com:993']
        labels: {module: tcp_tls}
  - job_name: own
    metrics_path: /probe
    params: {module: [house_special]}
    file_sd_configs: [{files: ['targets/*.json']}]
  - job_name: nodes
    scheme: https
    tls_config: {server_name: nodes.internal.example.com}
    static_configs: [{targets: ['10.0.0.1:9100', 'node-2.internal.example.com']}]
  - job_name: unencrypted
    static_configs: [{targets: ['10.0.0.1:9090']}]
  - job_name: ping
    params: {module: [icmp]}
    static_configs: [{targets: ['10.0.0.1']}]
"#;

#[test]
fn prometheus_and_blackbox() {
    let files = [
        ("/etc/prometheus/p.yml", BLACKBOX_JOBS),
        (
            "/etc/prometheus/targets/a.json",
            r#"[{"targets": ["chat.example.com:5222", "odd.example.com:7777", 5, "a b:1"], "labels": {"env": "prod"}}]"#,
        ),
    ];
    insta::assert_snapshot!(shown(Kind::Prometheus, &files), @r#"
    /etc/prometheus/p.yml:9 tls://www.example.com 443
    /etc/prometheus/p.yml:10 tls://shop.example.com 8443
    /etc/prometheus/p.yml:9 tls://www.example.com 443
    /etc/prometheus/p.yml:10 tls://shop.example.com 8443
    /etc/prometheus/p.yml:23 smtp://mx.example.com 25
    /etc/prometheus/p.yml:24 tls://mx.example.com 993
    /etc/prometheus/targets/a.json:1 xmpp://chat.example.com 5222
    /etc/prometheus/p.yml:33 tls://10.0.0.1 9100 asked for nodes.internal.example.com
    /etc/prometheus/p.yml:33 tls://node-2.internal.example.com 443 asked for nodes.internal.example.com
    passed over /etc/prometheus/targets/a.json:1: nothing tells whether odd.example.com:7777 speaks TLS; add it by hand
    passed over /etc/prometheus/targets/a.json:1: nothing tells whether 5 speaks TLS; add it by hand
    passed over /etc/prometheus/targets/a.json:1: nothing tells whether a b:1 speaks TLS; add it by hand
    "#);

    // With the exporter's own configuration, the module is known and so is the name that it asks for.
    let blackbox = "modules:\n  house_special:\n    prober: tcp\n    tcp:\n      query_response:\n        - send: \"<stream:stream to='example.com'>\"\n        - send: \"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\"\n        - starttls: true\n      tls_config: {server_name: example.com}\n  mail:\n    prober: tcp\n    tcp: {query_response: [{expect: '^220'}, {send: 'EHLO prober'}, {send: STARTTLS}, {starttls: true}]}\n  pop: {prober: tcp, tcp: {query_response: [{send: STLS}, {starttls: true}]}}\n  imap: {prober: tcp, tcp: {query_response: [{send: '. STARTTLS'}, {starttls: true}]}}\n  tls: {prober: tcp, tcp: {tls: true}}\n  plain: {prober: tcp}\n";
    let known = prometheus::modules("b.yml", blackbox).unwrap();
    let mut reading = Reading::default();
    read(Kind::Prometheus, files[0].0, &Memory::of(&files), &known, &mut reading).unwrap();
    let chat: Vec<&Found> = reading.found.iter().filter(|f| f.source.contains("a.json")).collect();
    assert_eq!(chat.len(), 2, "{}", show(&reading));
    assert!(chat.iter().all(|f| f.protocol == Protocol::Xmpp && f.server_name.as_deref() == Some("example.com")));
    let jobs =
        |module: &str| format!("scrape_configs: [{{params: {{module: [{module}]}}, static_configs: [{{targets: ['h.example:1234']}}]}}]");
    for (module, expected) in [
        ("mail", Some(Protocol::Smtp)),
        ("pop", Some(Protocol::Pop3)),
        ("imap", Some(Protocol::Imap)),
        ("tls", Some(Protocol::Tls)),
        ("plain", None),
    ] {
        let mut reading = Reading::default();
        read_text(Kind::Prometheus, "p.yml", &jobs(module), &Memory::default(), &known, &mut reading).unwrap();
        assert_eq!(reading.found.first().map(|f| f.protocol), expected, "{module}");
    }
}

#[test]
fn a_target_file_alone_is_judged_by_addresses_and_ports() {
    insta::assert_snapshot!(shown(Kind::FileSd, &[("t.yml", "- targets: ['https://a.example', 'b.example:443', 'c.example:9100']\n  labels: {module: http_2xx}\n- targets: ['d.example:25', 'e.example:9100']\n")]), @r#"
    t.yml:1 tls://a.example 443
    t.yml:1 tls://b.example 443
    t.yml:3 smtp://d.example 25
    passed over t.yml:3: nothing tells whether e.example:9100 speaks TLS; add it by hand
    "#);
}

fn pem_of(names: &[&str]) -> (String, pki::Certificate) {
    let from = Time::parse("2026-01-01T00:00:00Z").unwrap();
    let until = Time::parse("2027-01-01T00:00:00Z").unwrap();
    let root = Authority::new("Example Root", from, until).unwrap();
    let (leaf, _key) = root.leaf(names, KeyType::EcdsaP256, from, until).unwrap();
    (leaf.to_pem(), leaf)
}

#[test]
fn kubernetes_manifests() {
    let (pem, leaf) = pem_of(&["www.example.com", "shop.example.com"]);
    let packed = base64::engine::general_purpose::STANDARD.encode(&pem);
    let text = format!(
        r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web, namespace: prod}}
spec:
  tls:
    - hosts: [www.example.com, "*.wild.example.com"]
      secretName: web-tls
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: all}}
spec:
  tls: [{{secretName: x}}]
  rules: [{{host: rule.example.com}}, {{http: {{}}}}]
---
apiVersion: v1
kind: List
items:
  - apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata: {{name: edge}}
    spec:
      listeners:
        - {{name: a, protocol: HTTPS, port: 8443, hostname: gate.example.com}}
        - {{name: b, protocol: TLS, port: 443}}
        - {{name: c, protocol: HTTP, port: 80, hostname: plain.example.com}}
        - {{name: d, protocol: HTTPS, port: 0, hostname: odd.example.com}}
  - apiVersion: v1
    kind: Secret
    type: kubernetes.io/tls
    metadata: {{name: web-tls, namespace: prod}}
    data:
      tls.crt: {packed}
      tls.key: S0VZIE1BVEVSSUFM
  - {{apiVersion: v1, kind: Secret, type: Opaque, metadata: {{name: other}}, data: {{password: aHVudGVyMg==}}}}
  - {{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: broken}}, data: {{tls.crt: "%%%"}}}}
"#
    );
    let reading = reading_of(Kind::Kubernetes, &[("k.yaml", &text)]).unwrap();
    insta::assert_snapshot!(show(&reading), @r#"
    k.yaml:7 tls://www.example.com 443
    k.yaml:15 tls://rule.example.com 443
    k.yaml:25 tls://gate.example.com 8443
    k.yaml:29 holds prod/web-tls ["www.example.com", "shop.example.com"] 2027-01-01T00:00:00Z
    passed over k.yaml:7: *.wild.example.com is a pattern; add the names that it stands for by hand
    passed over k.yaml:26: a listener of default/edge on port 443 has no hostname; add its names by hand
    passed over k.yaml:28: a listener without a port from 1 to 65535
    passed over k.yaml:37: Secret default/broken holds no certificate that can be read
    "#);
    assert_eq!(reading.stored[0].fingerprint, leaf.fingerprint());
    assert!(!format!("{reading:?}").contains("S0VZ"));
}

#[test]
fn kinds_are_told_from_name_and_content() {
    for (path, text, expected) in [
        ("prometheus.yml", "scrape_configs: []", Some(Kind::Prometheus)),
        ("b.yml", "modules: {}", Some(Kind::Blackbox)),
        ("targets.json", r#"[{"targets": []}]"#, Some(Kind::FileSd)),
        ("x.yaml", "---\n---\napiVersion: v1\nkind: Secret\n", Some(Kind::Kubernetes)),
        ("x.yaml", "a: b", None),
        ("x.json", "{", None),
        ("manifest", "apiVersion: v1\nkind: List\nitems: []", Some(Kind::Kubernetes)),
        ("site", "# c\nserver {\n listen 443 ssl;\n}", Some(Kind::Nginx)),
        ("nginx.conf", "user x;", Some(Kind::Nginx)),
        ("site.conf", "<VirtualHost *:443>\n</VirtualHost>", Some(Kind::Apache)),
        ("x.cfg", "global\n  daemon\n", Some(Kind::Haproxy)),
        ("x.cfg", "listen stats\n  bind :1\n", Some(Kind::Haproxy)),
        ("hosts", "# ours\nwww.example.com\n10.0.0.0/24:443\n", Some(Kind::List)),
        ("hosts", "www.example.com:443\nwww.example.com:https\n", Some(Kind::List)),
        ("hosts", "what is this?\n", None),
        ("hosts", "what is this?\nand this?\nwww.example.com\n", None),
    ] {
        assert_eq!(detect(path, text).ok(), expected, "{path}");
    }
    assert_eq!(
        detect("hosts", "??").unwrap_err().to_string(),
        "hosts:1:1: cannot tell what kind of configuration this is; say it with --from KIND:PATH, such as --from nginx:site.conf"
    );
}

const KINDS: [Kind; 8] =
    [Kind::Prometheus, Kind::FileSd, Kind::Blackbox, Kind::Nginx, Kind::Apache, Kind::Haproxy, Kind::Kubernetes, Kind::List];

#[test]
fn servers_of_absurd_size_are_refused() {
    let names = "n.example ".repeat(MAX_SERVER_NAMES + 1);
    let listens = "listen 10.0.0.1:443 ssl;".repeat(MAX_BINDS + 1);
    for (kind, text, expected) in [
        (Kind::Nginx, format!("server {{ listen 443 ssl; server_name {names}; }}"), "names of one server"),
        (Kind::Nginx, format!("server {{ {listens} }}"), "addresses; split it"),
        (
            Kind::Apache,
            format!("<VirtualHost {}>\nSSLEngine on\n</VirtualHost>", "10.0.0.1:443 ".repeat(MAX_BINDS + 1)),
            "addresses; split it",
        ),
        (Kind::Haproxy, "frontend x\n".to_owned() + &"bind 10.0.0.1:1-1000 ssl\n".repeat(2), "addresses; split it"),
    ] {
        let e = reading_of(kind, &[("c", &text)]).unwrap_err();
        assert!(e.message.contains(expected), "{kind:?}: {e}");
    }
}

/// Pieces of every grammar, so that random texts get further than the first character.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "server",
        "listen",
        "443",
        "ssl",
        "{",
        "}",
        ";",
        "include",
        "*",
        "\"",
        "'",
        "\\",
        "$",
        "${",
        "#",
        "\n",
        " ",
        "\t",
        "<VirtualHost",
        "*:443",
        ">",
        "</VirtualHost>",
        "SSLEngine on",
        "ServerName",
        "Include",
        "Define a ${a}",
        "frontend",
        "bind",
        ":443",
        "acl",
        "ssl_fc_sni",
        "-i",
        "crt-list",
        "scrape_configs:",
        "- ",
        "targets:",
        "[",
        "]",
        "&a",
        "*a",
        "<<: *a",
        "kind: Secret",
        "apiVersion: v1",
        "data:",
        "tls.crt: x",
        "spec:",
        "---",
        "https://",
        "a.example",
        "10.0.0.0/24:1-9",
        "é",
        "\u{202e}",
        "\u{0}",
        "-",
        ",",
        ":",
        "|",
        "  ",
        "modules:",
        "content_by_lua_block",
        "main",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn no_configuration_makes_a_reader_panic(text in pieces(), noise in "\\PC{0,40}") {
        for text in [&text, &noise] {
            let files = Memory::of(&[("main", text), ("a.example", text)]);
            let _ = detect("main", text);
            let _ = detect("main.yaml", text);
            for kind in KINDS {
                let mut reading = Reading::default();
                if let Err(e) = read(kind, "main", &files, &Modules::default(), &mut reading) {
                    prop_assert!(e.line >= 1 && e.column >= 1);
                }
            }
        }
    }

    #[test]
    fn a_cut_configuration_is_an_error_or_less_and_never_a_panic(at in 0..BLACKBOX_JOBS.len()) {
        let text = &BLACKBOX_JOBS[..BLACKBOX_JOBS.floor_char_boundary(at)];
        for kind in KINDS {
            let _ = read_text(kind, "main", text, &Memory::default(), &Modules::default(), &mut Reading::default());
        }
    }
}
