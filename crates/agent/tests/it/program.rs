//! The program as people and scripts meet it.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::store::{Node, Store, on};

fn run(node: &Node, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_perennial-agent"))
        .args(["--config", &node.at("agent.toml").display().to_string()])
        .args(arguments)
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_configuration_that_is_wrong_is_told_at_once_and_whole() {
    let node = Node::new();
    let check = |text: &str, code: i32, parts: &[&str]| {
        fs::write(node.at("agent.toml"), text).unwrap();
        let (status, out, err) = said(&run(&node, &["check"], ""));
        assert_eq!(status, Some(code), "{err}");
        assert!(out.is_empty());
        for part in parts {
            assert!(err.contains(part), "{part}: {err}");
        }
    };
    check("", 0, &["is good: 0 places"]);
    check("statt = 1\n[[install]]\nsecret = \"a\"\n", 2, &["agent.toml:1:1: unknown key statt", "agent.toml:2:1: say where the files lie"]);
    fs::remove_file(node.at("agent.toml")).unwrap();
    let (status, _, err) = said(&run(&node, &["run"], ""));
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("No such file"), "{err}");
}

#[test]
fn from_a_string_to_an_installed_certificate() {
    on(async {
        let (mut store, node) = (Store::open().await, Node::new());
        let folder = node.folder.path().display().to_string();
        let listener = crate::programs::Listener::start(&node.at("tls")).await;
        fs::write(
            node.at("agent.toml"),
            format!(
                "state = \"{folder}/state\"\n[[install]]\nsecret = \"www\"\ncertificate = \"{folder}/tls/www.pem\"\nkey = \"{folder}/tls/www.key\"\n\
                 reload = {{ command = [\"/bin/touch\", \"{folder}/tls/reload\"] }}\nlook = {{ address = \"{}\" }}\n",
                listener.address
            ),
        )
        .unwrap();
        let ask = |arguments: &[&str], input: &str| tokio::task::block_in_place(|| said(&run(&node, arguments, input)));
        for command in ["status", "run", "once"] {
            let (status, _, err) = ask(&[command], "");
            assert_eq!(status, Some(2), "{err}");
            assert!(err.contains("this node has not joined a store; run `perennial-agent join`"), "{err}");
        }
        let (status, _, err) = ask(&["join", "nonsense"], "");
        assert_eq!(status, Some(2));
        assert!(err.contains("this is no join string"), "{err}");
        // By standard input, where no other process of this node sees it.
        let (status, _, err) = ask(&["join"], &(store.invitation().expose() + "\n"));
        assert_eq!(status, Some(0), "{err}");
        assert!(err.contains("joined store store-1 as web-1") && err.contains("the file mode alone"), "{err}");
        let leaf = store.send("www", 3);
        let (status, out, err) = ask(&["once"], "");
        assert_eq!(status, Some(0), "{out}{err}");
        assert!(out.contains("installed: version 3"), "{out}");
        let (status, out, _) = ask(&["status", "--json"], "");
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((status, &value["node"], &value["generation"]), (Some(0), &"web-1".into(), &1.into()), "{out}");
        assert_eq!(value["installs"][0]["leaf"], leaf);
        let (status, out, _) = ask(&["status"], "");
        assert_eq!(status, Some(0));
        assert!(out.contains("keys        the file mode alone (0600)"), "{out}");

        // What lies here and what listens; nothing of it is touched.
        let (status, out, err) = ask(&["observe", "--json"], "");
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let at = |place: &str| lines.iter().find(|line| line["place"] == place).cloned().unwrap_or_default();
        assert_eq!(at(&format!("{folder}/tls/www.pem"))["leaf"]["fingerprint"], leaf, "{status:?} {out}{err}");
        assert_eq!(at(&listener.address.to_string())["leaf"]["fingerprint"], leaf, "{out}");

        store.go_away().await;
        let (status, _, err) = ask(&["once"], "");
        assert_eq!(status, Some(4), "{err}");
        let (_, out, _) = ask(&["status"], "");
        assert!(out.contains("the store did not answer"), "{out}");
        // By hand, while it is gone.
        let two = store.send("www", 4);
        fs::write(node.at("manifest.json"), serde_json::to_vec(&store.signed()).unwrap()).unwrap();
        let material = store.book().sent[&("www".to_owned(), 4)].clone();
        fs::write(node.at("material.json"), serde_json::to_vec(&material).unwrap()).unwrap();
        let (manifest, material) = (node.at("manifest.json").display().to_string(), node.at("material.json").display().to_string());
        let (status, out, err) = ask(&["apply", "--manifest", &manifest, "--material", &material], "");
        assert_eq!(status, Some(0), "{out}{err}");
        assert_eq!(node.leaf("tls/www.pem"), two);
    });
}

#[test]
fn the_example_is_one() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/agent.toml")).unwrap();
    assert_eq!(agent::config::parse(&text).unwrap().installs.len(), 4);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agents.md")).unwrap();
    let shown = page.split("<<'END'\n").nth(1).unwrap().split("END\n").next().unwrap();
    assert_eq!(agent::config::parse(shown).unwrap().installs.len(), 1);
}
