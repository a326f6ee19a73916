//! What the help of each command ends with: calls that work as they stand, once there is a store.

use clap::Command;

/// Each command with calls of it. A test parses them, and finds commands that have none.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "demo",
        "perennial demo                  stays up, to be looked at from another terminal\nperennial demo --once           ends by itself; exit 0 if every step came true",
    ),
    (
        "server",
        "perennial server --data ./store --key-file ./kek.key\n\
         perennial server --data /var/lib/perennial --passphrase-file /run/secrets/phrase --listen 0.0.0.0:7443 --name store.example.com\n\
         perennial server --data ./store --key-file ./kek.key --clock-witness https://www.example.com/\n\
         perennial server --data ./store --key-file ./kek.key --listen-agents 0.0.0.0:7444 --agents-address store.example.com",
    ),
    ("node list", "perennial node list\nperennial node list --region eu --json"),
    ("node show", "perennial node show web-1"),
    ("node join-token", "perennial node join-token web-1\nperennial node join-token web-1 --valid 10m"),
    ("node rejoin", "perennial node rejoin web-1 --reason \"its disk was copied; the copy is gone\""),
    ("node revoke", "perennial node revoke web-1 --reason \"taken out of use\""),
    ("node readmit", "perennial node readmit --reason \"restored from the backup of 03:00; nobody was revoked since\""),
    (
        "node manifest-key",
        "perennial node manifest-key\nperennial node manifest-key --rotate --reason \"yearly\"\n\
         perennial node manifest-key --finish --reason \"web-7 is gone for good\"",
    ),
    ("node manifest", "perennial node manifest web-1 > manifest.json\nperennial node manifest web-1 --material www > www.json"),
    ("rollout list", "perennial rollout list\nperennial rollout list --all-states --json"),
    ("rollout show", "perennial rollout show 7"),
    ("rollout watch", "perennial rollout watch 7\nperennial rollout watch 7 --timeout 30m --json"),
    ("rollout plan", "perennial rollout plan 7"),
    ("rollout start", "perennial rollout start www\nperennial rollout start www --version 4 --reason \"after the holidays\""),
    ("rollout critical", "perennial rollout critical www --reason \"its release is late\""),
    ("rollout halt", "perennial rollout halt 7 --reason \"the canary is slow\""),
    ("rollout resume", "perennial rollout resume 7 --reason \"it was the load test\""),
    ("rollout rollback", "perennial rollout rollback 7 --reason \"old clients do not know the new chain\""),
    (
        "revocation open",
        "perennial revocation open --issuer \"Example Issuing CA 3\" --deadline 24h --reason \"the CA revokes them\"\n\
         perennial revocation open --secret www --deadline 5d --reason \"its key may have leaked\"",
    ),
    ("revocation list", "perennial revocation list"),
    ("revocation show", "perennial revocation show 2"),
    ("revocation secrets", "perennial revocation secrets 2 --all"),
    ("revocation withdraw", "perennial revocation withdraw 2 --reason \"the CA took its notice back\""),
    ("drill list", "perennial drill list"),
    ("drill schedule", "perennial drill schedule"),
    ("drill show", "perennial drill show 3"),
    (
        "drill run",
        "perennial drill run monthly --reason \"before the freeze\"\n\
         perennial drill run --secret www --kind stale-reload --node web-1 --reason \"the reload hook is new\"",
    ),
    ("drill history", "perennial drill history\nperennial drill history monthly\nperennial drill history secret/www --json"),
    ("drill abort", "perennial drill abort 3 --reason \"the region is needed\""),
    ("restore", "perennial restore --data ./store --from ./perennial.backup.db --reason \"the disk of host 4 died\""),
    (
        "scan",
        "perennial scan example.com smtp://mail.example.com:25\nperennial scan --file targets.txt --json\nperennial scan tls://www.example.com:443@192.0.2.7 --at 2027-01-01",
    ),
    ("replay", "perennial replay --all\nperennial replay outage.toml --trace\nperennial replay --all --without D4,D5 --json"),
    (
        "adopt",
        "perennial adopt --from nginx:/etc/nginx/nginx.conf --out fleet.toml\nperennial adopt --from list:targets.txt --owner web --out fleet.toml",
    ),
    (
        "release scan",
        "perennial release scan --offline ./dist app.jar app.deb\n\
         docker save shop:1 | perennial release scan --offline --json -\n\
         perennial release scan --offline image.tar --password-file ./p12.pw --accept unsupported\n\
         perennial release scan ./dist --service shop --build 1.4.2 --planned 2027-01-15 --server https://store.example.com:7443",
    ),
    (
        "release create",
        "perennial release create storage 2013.1 --train storage-monthly --carries blob --carries queue\n\
         perennial release create shop 1.4.2 --planned 2027-01-15 --stage eu=2027-01-20 --stage us=2027-01-27",
    ),
    ("release list", "perennial release list --service storage"),
    ("release queue", "perennial release queue --train storage-monthly\nperennial release queue --all --json"),
    ("release show", "perennial release show 12\nperennial release show 12 --items"),
    (
        "release plan",
        "perennial release plan 12 --train storage-monthly --before 11 --reason \"it carries certificates\"\n\
         perennial release plan 12 --planned 2027-01-10",
    ),
    ("release delay", "perennial release delay 12 --by 14d --reason \"a fix of another release goes first\""),
    ("release stage", "perennial release stage 12 eu --planned 2027-01-20\nperennial release stage 12 eu --status deployed"),
    ("release built", "perennial release built 12"),
    ("release deploying", "perennial release deploying 12"),
    ("release deployed", "perennial release deployed 12                   production is looked at, and ends it"),
    ("release cancel", "perennial release cancel 12 --reason \"14 holds all of it\""),
    (
        "apply",
        "perennial apply -f fleet.toml --dry-run       what would change, and the hash of that plan\n\
         perennial apply -f fleet.toml --data ./store\n\
         perennial apply -f fleet.toml --prune --plan 5c0e…   exactly what was looked at, or nothing",
    ),
    ("ca list", "perennial ca list"),
    (
        "ca create",
        "perennial ca create europe-ca --permit europe.internal --root europe-root.pem\n\
         perennial ca create lab-ca --permit lab.internal --permit 10.0.0.0/8 --keep-root",
    ),
    ("ca show", "perennial ca show europe-ca\nperennial ca show europe-ca --chain > chain.pem"),
    (
        "ca renew",
        "perennial ca renew europe-ca --root /media/usb/europe-root.pem\n\
         perennial ca renew europe-ca > europe.csr        signed later, where the root is\n\
         perennial ca renew europe-ca --drop",
    ),
    ("ca sign", "perennial ca sign europe-ca --root /media/usb/europe-root.pem --passphrase-file phrase"),
    ("ca answer", "perennial ca answer europe-ca --chain signed-elsewhere.pem"),
    ("ca crl", "perennial ca crl europe-ca --out europe.crl"),
    ("issuer list", "perennial issuer list"),
    (
        "cert request",
        "perennial cert request www > www.csr\nperennial cert request www --names www.example.com --names example.com --reason \"the year is over\" > www.csr",
    ),
    ("cert answer", "perennial cert answer www --chain from-the-ca.pem"),
    ("cert requests", "perennial cert requests www"),
    ("cert drop", "perennial cert drop www 3 --reason \"the CA refused it\""),
    ("cert renew", "perennial cert renew www --reason \"its key may be known\""),
    ("cert revoke", "perennial cert revoke www --version 3 --reason key-compromise --why \"it lay in a build\""),
    ("status", "perennial status --data ./store\nperennial status --server https://store.example.com:7443 --ca ca.pem --token-file token"),
    ("runway", "perennial runway --data ./store\nperennial runway --team storage --all --json"),
    (
        "forecast",
        "perennial forecast --until 2027-06-01\nperennial forecast --delay storage/2027.3=14d --silence-region eu\n\
         perennial forecast --cancel 12 --service storage --all --json",
    ),
    ("spof", "perennial spof\nperennial spof --json"),
    ("findings", "perennial findings --secret www\nperennial findings --all --json"),
    ("expiring", "perennial expiring --within 30d\nperennial expiring --within 365d --weeks"),
    (
        "cert import",
        "perennial cert import www --chain chain.pem --key key.pem --reason \"yearly renewal\"\n\
         perennial cert import www --p12 www.p12 --password-file pw --dry-run\n\
         perennial cert import www --chain rsa.pem --key rsa.key --more chain=ecdsa.pem,key=ecdsa.key\n\
         perennial cert import --bulk many.ndjson",
    ),
    (
        "blast",
        "perennial blast                                     the widest of each kind, and the worst hour of the coming year\n\
         perennial blast --by leaf --service storage --all --json\n\
         perennial blast --window 3m --within 90d",
    ),
    (
        "partition",
        "perennial partition --service storage\n\
         perennial partition --service storage --max-share 5 --window 12h\n\
         perennial partition --service storage --apply --plan 5c0e… --reason \"no window above 10 %\"",
    ),
    ("intent list", "perennial intent list --state open"),
    ("intent show", "perennial intent show 12"),
    ("cert list", "perennial cert list --team storage"),
    ("cert show", "perennial cert show www"),
    (
        "secret put",
        "perennial secret put hook-key --file hook.key --expires 2027-06-30\nprintf %s \"$KEY\" | perennial secret put hook-key",
    ),
    ("secret list", "perennial secret list --all --json"),
    ("secret show", "perennial secret show www"),
    ("secret attest", "perennial secret attest vendor-root --expires 2031-01-01 --reason \"read on the appliance\""),
    ("secret retire", "perennial secret retire hook-key --reason \"the webhook was given up\""),
    ("target list", "perennial target list --secret www"),
    ("target show", "perennial target show www-eu"),
    ("target look", "perennial target look www-eu --reason \"nginx was reloaded\""),
    ("target retire", "perennial target retire www-eu --reason \"the region was given up\""),
    ("observe", "perennial observe www-eu www-us --wait\nperennial observe www-eu --wait --timeout 5m"),
    (
        "observe report",
        "perennial observe report --target mx --method attested --chain mx.pem --address /etc/ssl/mx.pem --expires 2027-01-01",
    ),
    ("incident list", "perennial incident list\nperennial incident list --closed --all --json"),
    ("incident show", "perennial incident show 7"),
    ("incident ack", "perennial incident ack 7 --reason \"rolling it out now\""),
    ("incident mitigate", "perennial incident mitigate 7 --reason \"traffic was moved to the other region\""),
    (
        "incident review",
        "perennial incident review 7 --cause release-delayed --text \"nobody had flagged the release\" --action \"flag releases;web;2027-03-01\"",
    ),
    ("incident done", "perennial incident done 3 --reason \"releases are flagged\""),
    ("notice list", "perennial notice list --limit 20"),
    ("sweep", "perennial sweep\nperennial sweep --list --json"),
    ("audit verify", "perennial audit verify\nperennial audit verify --head 1:4711:9f3c…"),
    ("audit list", "perennial audit list --all --json"),
    (
        "token create",
        "perennial token create alice --role owner --team web --out alice.token\n\
         perennial token create eu --role vantage --vantage eu --expires 2027-12-31 --out eu.token\n\
         perennial token create ci --role build --service shop --expires 2027-12-31 --out ci.token",
    ),
    ("token list", "perennial token list"),
    ("token revoke", "perennial token revoke 4"),
    (
        "unseal",
        "perennial unseal --data ./store                    asks for the passphrase\nperennial unseal --init --passphrase-file phrase",
    ),
    ("seal", "perennial seal"),
    (
        "kek rotate",
        "perennial kek rotate                               asks for the new passphrase\n\
         openssl rand -hex 32 > new.key && perennial kek rotate --key-file new.key",
    ),
    ("clock confirm", "perennial clock confirm --reason \"compared with two time servers\""),
    ("backup", "perennial backup\nperennial backup --path monday.backup.db"),
    ("vantage", "perennial vantage --name eu --server https://store.example.com:7443 --ca ca.pem --token-file eu.token"),
];

/// What somebody sees who calls the program with nothing.
pub(crate) const START: &str = "\
Perennial keeps the certificates that keep production alive: a renewal is done only when production has been seen serving it.

Look at something now, without a server:
  perennial scan example.com

Watch the outage of 2013 not happen, in a minute:
  perennial demo

Begin a store:
  perennial server --data ./store --key-file ./kek.key
  perennial adopt --from nginx:/etc/nginx/nginx.conf --out fleet.toml
  perennial apply -f fleet.toml --data ./store
  perennial runway --data ./store

All commands: perennial --help. One of them, with examples: perennial COMMAND --help.
";

/// Puts the examples under the help of their commands.
pub(crate) fn add(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (path, calls)| {
        let path: Vec<&str> = path.split(' ').collect();
        at(command, &path, &|found| {
            let text = format!("Examples:\n  {}", calls.replace('\n', "\n  "));
            let text = match found.get_after_help() {
                Some(before) => format!("{text}\n\n{before}"),
                None => text,
            };
            found.after_help(text)
        })
    })
}

fn at(command: Command, path: &[&str], change: &dyn Fn(Command) -> Command) -> Command {
    match path.split_first() {
        Some((first, rest)) => command.mut_subcommand(*first, |found| at(found, rest, change)),
        None => change(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn leaves(command: &Command, path: &str, all: &mut Vec<String>) {
        let inside: Vec<&Command> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        // A command with commands inside it that also does something by itself wants examples too.
        if inside.is_empty() || (!path.is_empty() && !command.is_subcommand_required_set()) {
            all.push(path.to_owned());
        }
        for each in inside {
            leaves(each, format!("{path} {}", each.get_name()).trim_start(), all);
        }
    }

    #[test]
    fn every_command_has_examples() {
        let mut all = Vec::new();
        leaves(&crate::Arguments::command(), "", &mut all);
        all.sort();
        let mut known: Vec<String> = EXAMPLES.iter().map(|(path, _)| (*path).to_owned()).collect();
        known.sort();
        assert_eq!(all, known);
        assert!(add(crate::Arguments::command()).render_long_help().to_string().contains("Exit status"));
    }

    /// Words of a line as a shell takes them apart, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|w| !w.is_empty());
        words
    }

    #[test]
    fn every_example_can_be_called() {
        let calls = EXAMPLES.iter().flat_map(|(_, calls)| calls.lines()).chain(START.lines().filter(|l| l.starts_with("  perennial")));
        for line in calls {
            let (_, call) = line.split_once("perennial ").unwrap_or_else(|| panic!("{line}"));
            // Behind a wide gap stands a remark, and what goes into a file is the shell's to say.
            let call = call.split("   ").next().unwrap().split(" > ").next().unwrap();
            let parsed = add(crate::Arguments::command()).try_get_matches_from(words(&format!("perennial {call}")));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
