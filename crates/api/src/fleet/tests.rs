#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../../../examples/fleet.toml");
/// 2026-11-22T00:00:00Z.
const NOW: i64 = 1_795_305_600;

fn errors(text: &str) -> String {
    let errors = parse_at(text, NOW).expect_err("this file has problems");
    errors.iter().map(|e| format!("{e}\n")).collect()
}

#[test]
fn the_example_explains_itself_and_parses() {
    let fleet = parse_at(EXAMPLE, NOW).unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(fleet.targets.len(), 10);
    assert_eq!(fleet.secrets.len(), 9);
    assert_eq!(fleet.drills.len(), 3);
    assert_eq!(fleet.issuers.len(), 2);
    assert_eq!(fleet.targets[1].vantages, ["local"]);
    assert_eq!(fleet.secrets[0].overrides.as_ref().unwrap().incident, Some(Period::days(75)));
}

#[test]
fn toml_and_json_carry_the_same_fleet() {
    let fleet = parse(EXAMPLE).unwrap();
    assert_eq!(parse(&write(&fleet)).unwrap(), fleet);
    let json = serde_json::to_string(&fleet).unwrap();
    assert_eq!(serde_json::from_str::<Fleet>(&json).unwrap(), fleet);
    // The hand-written reader and the derived one agree on the same text.
    assert_eq!(toml::from_str::<Fleet>(EXAMPLE).unwrap(), fleet);
}

#[test]
fn json_refuses_what_it_does_not_know() {
    for wrong in [
        r#"{"targets": []}"#,
        r#"{"team": [{"name": "a", "contacts": [{"channel": "log", "extra": 1}]}]}"#,
        r#"{"policy": [{"name": "p", "class": "leaf", "notice": "soon"}]}"#,
        r#"{"target": [{"name": "t", "secret": "s", "endpoint": "https://x"}]}"#,
    ] {
        assert!(serde_json::from_str::<Fleet>(wrong).is_err(), "{wrong}");
    }
    assert_eq!(serde_json::from_str::<Fleet>("{}").unwrap(), Fleet::default());
}

#[test]
fn every_problem_of_form_at_once() {
    insta::assert_snapshot!(errors(
        r#"
colour = "red"
[fleet]
default_owner = 5
baseline = "2026-02-29"
[[team]]
nam = "platform"
contacts = [{ channel = "pigeon", url = "https://x" }, "log"]
[service]
name = "storage"
[[policy]]
name = "p"
class = "branch"
notice = "three months"
incident = 90
interval = "1h30"
[[secret]]
name = "s"
[[secret]]
name = "t"
kind = "certificate"
renewal = "auto"
release_bound = "yes"
names = ["a.example", 7]
override = { notice = "9d" }
[[target]]
name = "x"
secret = "t"
endpoint = "https://www.example.com"
offers = ["all", "dsa"]
drained_until = 2026-12-01T00:00:00Z
"#
    ), @r#"
    2:1: unknown key "colour"; possible here: calendar, drill, fleet, issuer, node, partition, policy, region, rollout_policy, roots, secret, service, stamp, target, team, train, vantage
    4:17: default_owner should be a text in quotes, not a number
    5:12: baseline: "2026-02-29" is not a day; write it like "2026-11-22"
    6:1: name is missing; add name = "…"
    7:1: unknown key "nam"; did you mean name?
    8:25: unknown channel "pigeon"; use log, webhook, alertmanager or pagerduty
    8:56: channel is missing; add channel = "…"
    8:56: contacts should hold tables, not a text
    9:1: service should be [[service]] (two brackets), not a table
    13:9: class: unknown word "branch"; use "leaf", "private-ca", "trust-anchor", "embedded" or "public-intermediate"
    14:10: notice: "three months" is not a length of time; write it like "90d", "12h", "36m", "45s" or "1d12h"
    15:12: incident should be a text in quotes, not a number
    16:12: interval: "1h30" is not a length of time; write it like "90d", "12h", "36m", "45s" or "1d12h"
    17:1: kind is missing; use "certificate", "opaque" or "tracked"
    22:11: renewal: unknown word "auto"; use "by-hand" or "automatic"
    23:17: release_bound should be true or false (without quotes), not a text
    24:23: names should hold texts in quotes, not a number
    25:12: reason is missing; add reason = "…"
    29:12: endpoint: https:// names a page, not an endpoint; write "tls://host:443"
    30:18: offers: unknown word "dsa"; use "all", "rsa" or "ecdsa"
    31:17: only a drained target has it; leave it out or say state = "drained"
    "#);
}

#[test]
fn every_problem_of_meaning_at_once() {
    insta::assert_snapshot!(errors(
        r#"
[fleet]
default_owner = "nobody"
[[team]]
name = "core"
escalation = "core"
contacts = [{ channel = "webhook", url = "http://hooks.example/x", signing_secret = "cert" }]
[[team]]
name = "core"
contacts = []
[[team]]
name = "pager team"
contacts = [{ channel = "pagerduty", routing_key = "R0UTINGKEY" }, { channel = "alertmanager", url = "http://a:b@am:9093" }]
[[service]]
name = "web"
team = "kore"
[[region]]
name = "eu"
[[region]]
name = "us"
[[stamp]]
name = "eu-1"
region = "eu"
[[vantage]]
name = "office"
required = false
[[roots]]
name = "both"
pem = "-----BEGIN PRIVATE KEY-----"
file = "x.pem"
[[roots]]
name = "key"
pem = "-----BEGIN CERTIFICATE----- -----BEGIN PRIVATE KEY-----"
[[roots]]
name = "neither"
[[roots]]
name = "absolute"
file = "/etc/ssl/root.pem"
[[policy]]
name = "flat"
class = "leaf"
notice = "90d"
incident = "90d"
interval = "1s"
unobserved_after = "1s"
[[secret]]
name = "cert"
kind = "certificate"
policy = "flat"
override = { incident = "100d", reason = " " }
names = ["a.example", "bad host", "a.example"]
issuers = ["CN=x"]
expires = "2027-01-01T00:00:00Z"
[[secret]]
name = "bytes"
kind = "opaque"
names = ["a.example"]
override = { reason = "because" }
[[target]]
name = "t0"
secret = "bytes"
endpoint = "tls://a.example:443"
region = "us"
stamp = "eu-1"
server_name = "10.0.0.1"
vantages = ["office", "moon"]
optional_vantages = ["office"]
offers = []
[[target]]
name = "t1"
secret = "gone"
state = "drained"
[[target]]
name = "t1"
secret = "cert"
kind = "install"
endpoint = "tls://a.example:443"
server_name = "a.example"
drained_until = "2026-12-01T00:00:00Z"
[[target]]
name = "t3"
secret = "cert"
endpoint = "tls://a.example:443"
state = "drained"
drained_until = "2026-12-23T00:00:00Z"
vantages = []
[[target]]
name = "t4"
secret = "cert"
endpoint = "tls://a.example:443"
state = "drained"
drained_until = "2026-11-01T00:00:00Z"
roots = "no-such-roots"
team = "no-such-team"
service = "no-such-service"
"#
    ), @r#"
    3:17: no team is called "nobody"; declare it with [[team]] or correct the name
    6:14: a team cannot be its own escalation; name another team or leave it out
    7:42: an address here begins with https://
    7:85: secret "cert" is not opaque; name one with kind = "opaque"
    9:8: there is another team "core"; choose a different name (see line 5)
    10:12: nobody would be told; add at least contacts = [{ channel = "log" }]
    12:8: "pager team" is not a name; use letters, digits and . _ - : @ + *
    13:52: no such secret; this is the name of an opaque secret, declared with [[secret]], never the bytes themselves
    13:102: an address cannot hold a password; leave it out and use a signing secret
    16:8: no team is called "kore"; declare it with [[team]] or correct the name
    30:8: either pem or file, not both; leave one out
    33:7: this holds a private key; keep certificates alone, and consider the key as disclosed
    34:1: roots need their certificates; add file = "…" or pem = """…"""
    38:8: write a path relative to the fleet file, so that it means the same on every machine
    42:10: notice (90d) must come before incident (90d): make notice the longer one
    44:12: targets are observed every 10s to every 7d, not every 1s
    45:20: unobserved_after (1s) must be longer than interval (1s), or every pause is a finding
    50:25: notice (90d) must come before incident (100d): make notice the longer one
    50:42: an override needs a reason; say why this secret differs
    51:23: "bad host" is not a host name: only letters, digits, '-', '_' and dots are possible
    51:35: said twice; leave one out (see line 51)
    52:11: issuers are expected of external certificates; leave them out or say management = "external"
    53:11: a certificate says itself when it ends; leave expires out
    57:9: only a certificate covers names; leave them out
    58:12: nothing is overridden; add notice or incident, or leave the override out
    61:10: an endpoint cannot present an opaque secret; name a certificate
    64:9: stamp "eu-1" lies in region "eu"; correct one of the two
    65:15: a server name is a DNS name, not an address; leave it out
    66:13: vantage "office" is declared with required = false; move it to optional_vantages
    66:23: no vantage is called "moon"; declare it with [[vantage]] or correct the name
    67:22: "office" is required already; leave it out here
    68:10: nothing would be offered; write offers = ["all"] or leave it out
    69:1: a drained target needs an end; add drained_until, at most 30d ahead
    69:1: an endpoint needs its address; add endpoint = "tls://host:443"
    71:10: no secret is called "gone"; declare it with [[secret]] or correct the name
    74:8: there is another target "t1"; choose a different name (see line 70)
    77:12: only kind = "endpoint" is dialled; leave it out or make a second target of it
    78:15: only kind = "endpoint" is asked for a name; leave it out
    79:17: only a drained target has it; leave it out or say state = "drained"
    85:17: 2026-12-23T00:00:00Z is more than 30d ahead; drain for less, or retire the target
    86:12: no vantage would have to be green; name at least one, such as "local"
    92:17: 2026-11-01T00:00:00Z has passed; set state = "active" or a later end
    93:9: no roots is called "no-such-roots"; declare it with [[roots]] or correct the name
    94:8: no team is called "no-such-team"; declare it with [[team]] or correct the name
    95:11: no service is called "no-such-service"; declare it with [[service]] or correct the name
    "#);
}

#[test]
fn every_problem_of_what_is_planned_by() {
    insta::assert_snapshot!(errors(
        r#"
[[team]]
name = "core"
contacts = [{ channel = "log" }]
[[service]]
name = "web"
team = "core"
calender = "eu"
train = "weekly"
partition = "lax"
[[region]]
name = "eu"
needs = ["eu", "us", "us"]
[[calendar]]
name = "eu"
[[calendar.freeze]]
why = " "
from = 2026-12-15
until = 2026-12-15T00:00:00
[[calendar.freeze]]
why = "tomorrow"
from = "tomorrow"
[[calendar.freeze]]
why = "half a rule"
start = "2026-01-31"
[[calendar.freeze]]
why = "two of three"
weekly = "fri 16:00 - mon 08:00"
from = "2026-12-15"
[[calendar.freeze]]
why = "no beginning"
until = "2026-12-15T08:00"
[[calendar.freeze]]
why = "nothing"
[[calendar.freeze]]
why = "no rule"
start = "2026-01-31T25:00"
lasts = "two days"
rule = 4
[[train]]
name = "weekly"
calendar = "us"
capacity = 0
[[train]]
name = "daily"
start = "2026-01-06T10:00"
rule = "FREQ=DAILY"
capacity = -1
[[train]]
name = "weekly"
start = "2026-01-06T10:00"
rule = ""
capacity = "1"
[[partition]]
name = "nothing"
window = "2d"
[[partition]]
name = "much"
max_targets_per_certificate = 0
min_days_between = 367
max_share_percent = 101
no_expiry_on = ["sat", "sat", "saturday", "2027-02-29", "sun", "mon", "tue", "wed", "thu", "fri"]
window = "367d"
[[secret]]
name = "s"
kind = "certificate"
validation = "dns 01"
dns_provider = ""
"#
    ), @r#"
    8:1: unknown key "calender"; did you mean calendar?
    10:13: no partition is called "lax"; declare it with [[partition]] or correct the name
    13:10: a region always needs itself; leave it out
    13:16: no region is called "us"; declare it with [[region]] or correct the name
    13:22: said twice; leave one out (see line 13)
    14:1: zone is missing; add zone = "…"
    17:7: a freeze needs a reason that people can read; add why = "…"
    19:9: it ends before it begins (2026-12-15); until is the first day or minute after the freeze
    22:8: from: "tomorrow" is not a day or a minute; write it in the time of the calendar's zone, like "2026-12-15" or "2026-12-15T18:00"
    23:1: a recurring freeze needs start, lasts and rule; add lasts and rule
    26:1: a freeze is one of three: from with until, weekly, or start with lasts and rule; write one of them
    30:1: from is missing; add the first day of the freeze
    33:1: a freeze is one of three: from with until, weekly, or start with lasts and rule; write one of them
    37:9: start: "2026-01-31T25:00" is not a day or a minute; write it in the time of the calendar's zone, like "2026-12-15" or "2026-12-15T18:00"
    38:9: lasts: "two days" is not a length of time; write it like "90d", "12h", "36m", "45s" or "1d12h"
    39:8: rule should be a text in quotes, not a number
    40:1: rule is missing; add rule = "…"
    40:1: start is missing; add start = "2026-01-06T10:00"
    42:12: no calendar is called "us"; declare it with [[calendar]] or correct the name
    43:12: write a number from 1 to 10000
    48:12: capacity: "-1" is not a whole number from 0 to 4294967295
    50:8: there is another train "weekly"; choose a different name (see line 41)
    52:8: a train needs its rule; add rule = "FREQ=WEEKLY;INTERVAL=4"
    53:12: capacity should be a whole number (without quotes), not a text
    54:1: nothing is asked for; add a rule such as one_region_per_certificate = true, or leave the partition out
    59:31: write a number from 1 to 4294967295
    60:20: write a number from 1 to 366
    61:21: write a number from 1 to 100
    62:16: every day is listed, so nothing could ever end; leave one day of the week out
    62:24: said twice; leave one out (see line 62)
    62:31: "saturday" is not a day; write mon, tue, wed, thu, fri, sat, sun or "2026-12-24"
    62:43: "2027-02-29" is not a day; write mon, tue, wed, thu, fri, sat, sun or "2026-12-24"
    63:10: a window is at most 366d wide
    67:14: write a short word such as "dns-01"; letters, digits and . _ - : @ + *
    68:16: write a short word such as "dns-01"; letters, digits and . _ - : @ + *
    "#);
}

#[test]
fn every_problem_of_issuing() {
    let text = r#"
[[region]]
name = "eu"
[[issuer]]
name = "one"
kind = "internal"
region = "us"
fallback = "two"
challenge = "http-01"
budget = { orders = 0, window = "1s" }
[[issuer]]
name = "two"
kind = "acme"
fallback = "one"
directory = "http://acme.example.net/"
contact = ["root@example.com"]
eab_key_id = "k"
dns_hook = "/bin/sh"
challenge = "dns-01"
[[issuer]]
name = "three"
kind = "acme"
directory = "https://acme.example.net/d"
challenge = "tls-alpn-01"
dns = { server = "10.0.0.1", zone = "example.com", key_name = "k.example.com", key_secret = "www" }
[[issuer]]
name = "four"
kind = "acme"
directory = "https://acme.example.net/d"
challenge = "dns-01"
dns = { server = "10.0.0.1", zone = "-", key_name = "k.example.com", key_secret = "www" }
[[secret]]
name = "www"
kind = "certificate"
issued_by = ["one", "five", "one"]
lifetime = "10s"
spiffe_id = "spiffe://a/b"
window = { weekly = "" }
[[secret]]
name = "svid"
kind = "certificate"
issued_by = ["three"]
profile = "spiffe"
spiffe_id = "spiffe://Trust/a//b"
[[secret]]
name = "partner"
kind = "certificate"
management = "external"
keys = "store"
names = ["a.example"]
"#;
    let problems: Vec<String> = validate_text(text).into_iter().map(|p| p.to_string()).collect();
    let paths: Vec<&str> = problems.iter().filter_map(|p| p.split(": ").next()).collect();
    assert_eq!(
        paths,
        [
            "issuer[0].region",
            "issuer[0].fallback",
            "issuer[0].budget.orders",
            "issuer[0].budget.window",
            "issuer[0].challenge",
            "issuer[1].fallback",
            "issuer[1].directory",
            "issuer[1].contact[0]",
            "issuer[1].eab_secret",
            "issuer[1].dns_hook",
            "issuer[2].dns",
            "issuer[3].dns.server",
            "issuer[3].dns.zone",
            "issuer[3].dns.key_secret",
            "secret[0].issued_by[2]",
            "secret[0].issued_by[1]",
            "secret[0].spiffe_id",
            "secret[0].names",
            "secret[0].lifetime",
            "secret[0].window.weekly",
            "secret[1].spiffe_id",
            "secret[1].profile",
            "secret[2].keys",
        ],
        "{problems:#?}"
    );
}

#[test]
fn targets_may_be_judged_by_the_roots_of_an_internal_ca() {
    let text = |roots: &str| {
        format!(
            "[[issuer]]\nname = \"eu\"\nkind = \"internal\"\n[[secret]]\nname = \"s\"\nkind = \"certificate\"\n[[target]]\nname = \"t\"\nsecret = \"s\"\nendpoint = \"tls://a.example:443\"\nroots = \"{roots}\"\n"
        )
    };
    parse(&text("perennial-ca-eu")).expect("its own set");
    assert!(parse(&text("perennial-ca-us")).is_err());
}

fn validate_text(text: &str) -> Vec<Problem> {
    let fleet: Fleet = toml::from_str(text).expect("its form is right");
    validate(&fleet).expect_err("it has problems")
}

#[test]
fn what_is_planned_by_has_limits() {
    let many: String =
        (0..=MAX_FREEZES).map(|i| format!("[[calendar.freeze]]\nwhy = \"f{i}\"\nweekly = \"sat 00:00 - sun 24:00\"\n")).collect();
    let text = format!("[[calendar]]\nname = \"c\"\nzone = \"UTC\"\n{many}");
    assert!(errors(&text).contains("a calendar has at most 100 freezes"), "{}", errors(&text));
    let calendars = |names: std::ops::Range<usize>, freezes: usize| {
        let freeze = "[[calendar.freeze]]\nwhy = \"w\"\nweekly = \"sat 00:00 - sun 24:00\"\n";
        names.map(|i| format!("[[calendar]]\nname = \"c{i}\"\nzone = \"UTC\"\n{}", freeze.repeat(freezes))).collect::<String>()
    };
    assert!(parse(&calendars(0..MAX_PLANNED, 10)).is_ok());
    assert!(errors(&calendars(0..MAX_PLANNED + 1, 0)).contains("more than 1000 of them"));
    assert!(
        errors(&(calendars(0..MAX_PLANNED - 1, 10) + &calendars(MAX_PLANNED - 1..MAX_PLANNED, 11))).contains("freezes in all calendars")
    );
    let numbers = "[[partition]]\nname = \"p\"\nmax_targets_per_certificate = ";
    for (number, accepted) in [("1", true), ("0x10", true), ("4294967295", true), ("4294967296", false), ("-1", false), ("1.0", false)] {
        assert_eq!(parse(&format!("{numbers}{number}\n")).is_ok(), accepted, "{number}");
    }
}

#[test]
fn every_problem_of_drills() {
    insta::assert_snapshot!(errors(
        r#"
[[secret]]
name = "www"
kind = "certificate"
[[secret]]
name = "token"
kind = "opaque"
[[target]]
name = "www"
secret = "www"
endpoint = "tls://www.example.com:443"
[[drill]]
name = "a"
secret = "nowhere"
[[drill]]
name = "b"
secret = "token"
every = "59m"
within = "59s"
node = "n1"
region = "eu"
[[drill]]
name = "c"
secret = "www"
kind = "alert"
every = "367d"
within = "2d"
team = "nobody"
[[drill]]
name = "d"
secret = "www"
kind = "node-down"
[[drill]]
name = "d"
secret = "www"
kind = "region-cut"
[[drill]]
name = "e"
secret = "www"
kind = "explosion"
"#
    ), @r#"
    14:10: no secret is called "nowhere"; declare it with [[secret]] or correct the name
    17:10: "token" is no certificate, so nothing could be rotated or run out; name a certificate
    18:9: a drill is due every 1h to every 366d, not every 59m
    19:10: a drill is to be over within 1m to 1d, not 59s
    20:8: no node is called "n1"; declare it with [[node]] or correct the name
    21:10: no region is called "eu"; declare it with [[region]] or correct the name
    24:10: an alert drill lets "www" run out, and "www" is production; say production = false there, or choose another secret
    26:9: a drill is due every 1h to every 366d, not every 367d
    27:10: a drill is to be over within 1m to 1d, not 2d
    28:8: no team is called "nobody"; declare it with [[team]] or correct the name
    29:1: this kind of drill needs the node that fails; add node = "…"
    33:1: this kind of drill needs the region that is cut off; add region = "…"
    34:8: there is another drill "d"; choose a different name (see line 30)
    40:8: kind: unknown word "explosion"; use "rotation", "alert", "node-down", "stale-reload" or "region-cut"
    "#);
}

#[test]
fn broken_toml_is_said_with_its_place() {
    insta::assert_snapshot!(errors("[fleet]\ndefault_owner = \"a\"\ndefault_owner = \"b\"\n[[team]\nname = 'x\n"), @r#"
    3:1: not valid TOML: duplicate key
    4:8: not valid TOML: unclosed array table, expected `]`
    "#);
}

#[test]
fn drained_for_thirty_days_and_not_a_second_more() {
    let file = |until: &str| {
        format!(
            "[[secret]]\nname = \"s\"\nkind = \"certificate\"\n[[target]]\nname = \"t\"\nsecret = \"s\"\n\
             endpoint = \"tls://a.example:443\"\nstate = \"drained\"\ndrained_until = \"{until}\"\n"
        )
    };
    for (until, accepted) in
        [("2026-12-22T00:00:00Z", true), ("2026-12-22T00:00:01Z", false), ("2026-11-22T00:00:00Z", false), ("2026-11-22T00:00:01Z", true)]
    {
        assert_eq!(parse_at(&file(until), NOW).is_ok(), accepted, "{until}");
        assert!(parse(&file(until)).is_ok(), "without a clock {until} cannot be judged");
    }
}

#[test]
fn the_same_problems_with_paths() {
    let text = "[[secret]]\nname = \"s\"\nkind = \"certificate\"\n[[target]]\nname = \"a\"\nsecret = \"s\"\n\
                endpoint = \"tls://a.example:443\"\n[[target]]\nname = \"a\"\nsecret = \"x\"\n";
    let fleet: Fleet = toml::from_str(text).unwrap();
    let paths: Vec<String> = validate(&fleet).unwrap_err().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(paths.join("\n"), @r#"
    target[1].name: there is another target "a"; choose a different name (see target[0].name)
    target[1].secret: no secret is called "x"; declare it with [[secret]] or correct the name
    target[1].endpoint: an endpoint needs its address; add endpoint = "tls://host:443"
    "#);
}

#[test]
fn files_are_read_by_the_client_and_refused_by_the_server() {
    let mut fleet = parse("[[roots]]\nname = \"r\"\nfile = \"r.pem\"\n[[roots]]\nname = \"q\"\nfile = \"q.pem\"\n").unwrap();
    assert!(validate_received(&fleet, NOW).unwrap_err()[0].to_string().starts_with("roots[0].file: "));
    let failed = resolve_files(&mut fleet.clone(), |path| match path {
        "r.pem" => Ok("-----BEGIN PRIVATE KEY-----".into()),
        _ => Err("no such file".into()),
    });
    assert_eq!(failed.unwrap_err().len(), 2);
    resolve_files(&mut fleet, |path| Ok(format!("# {path}\n-----BEGIN CERTIFICATE-----\n"))).unwrap();
    assert_eq!(fleet.roots[0].pem.as_deref(), Some("# r.pem\n-----BEGIN CERTIFICATE-----\n"));
    validate_received(&fleet, NOW).unwrap();
    assert_eq!(parse(&write(&fleet)).unwrap(), fleet);
}

#[test]
fn problems_are_bounded() {
    let text: String = (0..5_000).map(|i| format!("[[region]]\nname = \"bad name {i}\"\n")).collect();
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.len(), MAX_PROBLEMS + 1);
    assert_eq!(errors.last().unwrap().message, "and 4000 more problems; solve these first");
    assert_eq!(validate(&toml::from_str(&text).unwrap()).unwrap_err().len(), MAX_PROBLEMS);
}

/// A hundred thousand targets under one secret: quadratic work anywhere would take minutes, not seconds.
#[test]
fn a_large_fleet_is_read_in_one_pass() {
    use std::fmt::Write;
    let mut text = String::from("[[secret]]\nname = \"wildcard\"\nkind = \"certificate\"\n");
    for i in 0..100_000 {
        write!(text, "[[target]]\nname = \"t{i}\"\nsecret = \"wildcard\"\nendpoint = \"tls://n{i}.example.com:443\"\n").unwrap();
    }
    assert_eq!(parse(&text).unwrap().targets.len(), 100_000);
    // The same with a problem in each, so that finding places is in the path too.
    assert_eq!(parse(&text.replace("\"wildcard\"\nendpoint", "\"wildcat\"\nendpoint")).unwrap_err().len(), MAX_PROBLEMS + 1);
}

#[test]
fn notes_stay_comments() {
    let fleet = parse("[[secret]]\nname = \"s\"\nkind = \"certificate\"\n").unwrap();
    let mut notes = Notes::default();
    notes.head.push("first\n[[team]]\u{202e}".into());
    notes.secrets.insert("s".into(), vec!["from nginx.conf:3\r\nname = 1".into(), String::new()]);
    let text = write_with_notes(&fleet, &notes);
    insta::assert_snapshot!(text, @r#"
    # first\u{a}[[team]]\u{202e}

    # from nginx.conf:3\u{d}\u{a}name = 1
    #
    [[secret]]
    name = "s"
    kind = "certificate"
    "#);
    assert_eq!(parse(&text).unwrap(), fleet);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_example_is_an_error_and_never_a_panic(at in 0..EXAMPLE.len(), junk in "\\PC{0,4}", cut in any::<bool>()) {
        let (before, after) = EXAMPLE.split_at(EXAMPLE.floor_char_boundary(at));
        let text = if cut { before.to_owned() } else { format!("{before}{junk}{after}") };
        for error in parse_at(&text, NOW).err().unwrap_or_default() {
            prop_assert!(error.line >= 1 && error.column >= 1);
            prop_assert!(error.line <= text.lines().count() + 1);
        }
    }

    #[test]
    fn whatever_text_a_fleet_holds_is_written_so_that_it_comes_back(reason in "\\PC{1,40}|[\\x00-\\x7f]{1,20}") {
        let mut fleet = parse("[[secret]]\nname = \"s\"\nkind = \"certificate\"\noverride = { notice = \"9d\", reason = \"x\" }\n").unwrap();
        fleet.secrets[0].overrides.as_mut().unwrap().reason.clone_from(&reason);
        prop_assert_eq!(toml::from_str::<Fleet>(&write(&fleet)).unwrap(), fleet);
    }
}

#[test]
fn nodes_stand_somewhere_and_have_what_their_targets_serve() {
    insta::assert_snapshot!(errors(
        r#"
[[region]]
name = "eu"
[[region]]
name = "us"
[[stamp]]
name = "us-1"
region = "us"
[[secret]]
name = "www"
kind = "certificate"
[[secret]]
name = "token"
kind = "opaque"
[[node]]
name = "all"
region = "eu"
[[node]]
name = "eu"
region = "eu"
stamp = "us-1"
secrets = ["www", "www", "token", "nothing"]
canary = "yes"
[[node]]
region = "asia"
[[node]]
name = "web-1"
region = "eu"
secretes = []
[[target]]
name = "t"
secret = "www"
endpoint = "tls://www.example.com:443"
nodes = ["web-1", "web-2", "web-2"]
"#
    ), @r#"
    16:8: "all" stands for every node; choose a different name
    19:8: there is a region "eu"; choose a different name, certificates are made for one or the other
    21:9: stamp "us-1" lies in region "us"; correct one of the two
    22:19: said twice; leave one out (see line 22)
    22:26: "token" is no certificate that the store manages; an agent installs nothing else
    22:35: no secret is called "nothing"; declare it with [[secret]] or correct the name
    23:10: canary should be true or false (without quotes), not a text
    24:1: name is missing; add name = "…"
    25:10: no region is called "asia"; declare it with [[region]] or correct the name
    29:1: unknown key "secretes"; did you mean secrets?
    34:10: node "web-1" is not to have "www"; add it to that node's secrets, or leave the node out here
    34:19: no node is called "web-2"; declare it with [[node]] or correct the name
    34:28: said twice; leave one out (see line 34)
    "#);
}
