//! A CA that does what no CA should: each answer ends in a sentence that helps, and nothing of it is stored or believed.

use acme::{Error, Placed, Step};
use http::Response;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;

use crate::{
    scripted::{Answer, Scripted, answer, json_answer, located, problem, solver},
    support::{drive, new_key, now, wanted},
};

/// What comes of an order while one path is answered like this.
async fn comes(path: &'static str, with: impl Fn() -> Answer + Send + Sync + 'static) -> Error {
    let ca = Scripted::start(move |_, asked| (asked.path == path).then(&with)).await;
    let key = new_key();
    ca.hand_out(ca.issue(&key, &["www.example.test"]));
    let client = ca.ca();
    let account = match client.register(new_key(), &[], None, now()).await {
        Ok(account) => account,
        Err(error) => return error,
    };
    drive(&client, &account, &wanted(&key, &["www.example.test"]), &solver()).await.unwrap_err()
}

fn html() -> Answer {
    answer(200, "text/html; charset=utf-8", "<html><script>alert(1)</script>\u{1b}[31mSign in to the proxy")
}

#[tokio::test]
async fn pages_for_people_in_place_of_answers() {
    for path in ["/dir", "/account", "/new-order", "/order", "/authz", "/challenge", "/finalize", "/certificate"] {
        match comes(path, html).await {
            Error::Later { detail, after, .. } => {
                assert!(detail.contains("text/html") && detail.contains("is the directory's URL right?"), "{path}: {detail}");
                assert!(detail.contains("<html>") && !detail.contains('\u{1b}') && (1..=86_400).contains(&after), "{path}: {detail}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn answers_that_are_too_large_of_another_kind_or_elsewhere() {
    let huge = || answer(200, "application/json", vec![b' '; 2 << 20]);
    let error = comes("/order", huge).await;
    assert!(matches!(&error, Error::Later { detail, .. } if detail.contains("longer than the 262144 bytes")), "{error:?}");

    let elsewhere = || located(answer(302, "application/json", "{}"), "https://169.254.169.254/");
    let error = comes("/new-order", elsewhere).await;
    assert!(matches!(&error, Error::Later { detail, .. } if detail.contains("redirect (302")), "{error:?}");

    // An inside address in the directory: the guard that stands before everything that goes out.
    let inside = || {
        let url = "https://169.254.169.254/latest";
        json_answer(200, &json!({ "newNonce": url, "newAccount": url, "newOrder": url }))
    };
    let error = comes("/dir", inside).await;
    assert!(matches!(&error, Error::Setup(why) if why.contains("inside address (link-local)")), "{error:?}");

    for body in ["", "null", "[]", "{}", "{\"status\":\"weird\"}", "{\"newNonce\":1}"] {
        let error = comes("/dir", move || answer(200, "application/json", body)).await;
        assert!(matches!(&error, Error::Later { detail, .. } if detail.contains("not what RFC 8555 describes")), "{body}: {error:?}");
        let error = comes("/order", move || answer(200, "application/json", body)).await;
        assert!(matches!(&error, Error::Later { detail, .. } if detail.contains("not what RFC 8555 describes")), "{body}: {error:?}");
    }
    let thousands = || {
        let urls: Vec<String> = (0..5_000).map(|n| format!("https://127.0.0.1:1/{n}")).collect();
        json_answer(200, &json!({ "status": "pending", "authorizations": urls, "finalize": "https://127.0.0.1:1/" }))
    };
    let error = comes("/order", thousands).await;
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == "order-too-large"), "{error:?}");
}

#[tokio::test]
async fn chains_that_were_not_asked_for() {
    let ca = Scripted::start(|_, _| None).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    let (key, other) = (new_key(), new_key());
    let good = ca.issue(&key, &["www.example.test"]);
    for (chain, code) in [
        (ca.issue(&other, &["www.example.test"]), "chain-other-key"),
        (good.clone() + &key.expose_pem(), "chain-private-key"),
        (good.clone() + &other.expose_pem(), "chain-private-key"),
        (String::new(), "chain-empty"),
        ("sorry".into(), "chain-unreadable"),
        (ca.issue(&key, &["mail.example.test"]), "chain-name-not-covered"),
    ] {
        ca.hand_out(chain);
        // Each time another client: this CA has one challenge for all orders, and of that one a client tells it once.
        match drive(&ca.ca(), &account, &wanted(&key, &["www.example.test"]), &solver()).await {
            Err(Error::Refused(refusal)) => assert_eq!(refusal.code, code, "{refusal}"),
            other => panic!("{code}: {other:?}"),
        }
    }
    ca.hand_out(good);
    let (issued, _) = drive(&ca.ca(), &account, &wanted(&key, &["www.example.test"]), &solver()).await.unwrap();
    assert_eq!(issued.chain.len(), 2);
    assert!(ca.last("/finalize").user_agent.starts_with("perennial/"), "{:?}", ca.last("/finalize"));
}

/// RFC 8555 §6.7.1: each name with its own problem, and nothing that moves a cursor.
#[tokio::test]
async fn problems_by_name() {
    let refused = || {
        let sub = |name: &str, kind: &str, detail: &str| json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "identifier": { "type": "dns", "value": name } });
        let subproblems = [sub("a\u{202e}.test", "malformed", "odd\n\u{1b}[2J"), sub("b.test", "rejectedIdentifier", "not ours")];
        let body = json!({ "type": "urn:ietf:params:acme:error:compound", "detail": "some names", "subproblems": subproblems });
        json_answer(400, &body)
    };
    let Error::Refused(refusal) = comes("/new-order", refused).await else { panic!() };
    let shown = refusal.to_string();
    assert!(shown.ends_with("a\\u{202e}.test: odd\\u{a}\\u{1b}[2J (malformed); b.test: not ours (rejectedIdentifier)"), "{shown}");
    assert_eq!((refusal.code.as_str(), refusal.names.len()), ("compound", 2));

    let Error::Refused(refusal) = comes("/challenge", || problem(400, "incorrectResponse", "wrong file")).await else { panic!() };
    assert_eq!((refusal.names[0].name.as_str(), refusal.names[0].code.as_str()), ("www.example.test", "incorrectResponse"));
}

#[tokio::test]
async fn tokens_that_are_no_tokens() {
    for token in ["../../etc/passwd", "", "a b", "$(reboot)"] {
        let authorization = move || {
            let challenge = json!({ "type": "http-01", "url": "https://127.0.0.1:1/", "token": token, "status": "pending" });
            let identifier = json!({ "type": "dns", "value": "www.example.test" });
            json_answer(200, &json!({ "identifier": identifier, "status": "pending", "challenges": [challenge] }))
        };
        let error = comes("/authz", authorization).await;
        assert!(matches!(&error, Error::Refused(refusal) if refusal.code == "challenge-malformed"), "{token}: {error:?}");
    }
    let other = || {
        let challenge = json!({ "type": "dns-account-01", "url": "https://127.0.0.1:1/", "token": "t", "status": "pending" });
        let identifier = json!({ "type": "dns", "value": "www.example.test" });
        json_answer(200, &json!({ "identifier": identifier, "status": "pending", "challenges": [challenge] }))
    };
    let error = comes("/authz", other).await;
    assert!(matches!(&error, Error::Refused(refusal) if refusal.detail.contains("it offers: dns-account-01")), "{error:?}");
}

/// What is proven becomes a path, a record, and an argument of programs.
#[tokio::test]
async fn names_that_were_not_ordered() {
    for foreign in ["evil.example.test", "example.test", "-rf"] {
        let authorization = move || {
            let challenge = json!({ "type": "http-01", "url": "https://127.0.0.1:1/", "token": "tok", "status": "pending" });
            let identifier = json!({ "type": "dns", "value": foreign });
            json_answer(200, &json!({ "identifier": identifier, "status": "pending", "challenges": [challenge] }))
        };
        let error = comes("/authz", authorization).await;
        assert!(matches!(&error, Error::Refused(refusal) if refusal.code == "order-foreign-name"), "{foreign}: {error:?}");
    }
}

/// RFC 9773 §5: CAs refuse what they did not issue to this account in many ways; the order is placed without.
#[tokio::test]
async fn an_order_that_replaces_what_the_ca_does_not_know_is_placed_without() {
    for (status, code) in [(403, "unauthorized"), (400, "malformed"), (409, "alreadyReplaced"), (404, "serverInternal")] {
        let ca = Scripted::start(move |_, asked| {
            (asked.path == "/new-order" && asked.payload["replaces"].is_string()).then(|| problem(status, code, "parent not found"))
        })
        .await;
        let client = ca.ca();
        let account = ca.account(&client).await;
        let mut wanted = wanted(&new_key(), &["www.example.test"]);
        wanted.replaces = Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".into());
        let answer = client.advance(&account, &wanted, &solver(), None, now()).await;
        if code == "serverInternal" {
            assert!(matches!(&answer, Err(Error::Later { .. })), "{answer:?}");
            continue;
        }
        let Ok(Step::Placed { notes, .. }) = answer else { panic!("{code}: {answer:?}") };
        assert!(notes[0].contains("does not say which certificate it replaces") && notes[0].contains(code), "{notes:?}");
    }
}

/// The chain that was asked for is good, whatever stands beside it.
#[tokio::test]
async fn another_chain_that_is_broken_is_skipped() {
    let key = new_key();
    let ca = Scripted::start(|ca, asked| match asked.path.as_str() {
        "/certificate" => {
            let mut good = answer(200, "application/pem-certificate-chain", ca.chain());
            // RFC 8288 §3.1: relative to what answered.
            good.headers_mut().append("link", "</broken>;rel=alternate, <missing>;rel=alternate".parse().unwrap());
            Some(good)
        }
        "/broken" => Some(answer(200, "application/pem-certificate-chain", "nonsense")),
        _ => None,
    })
    .await;
    ca.hand_out(ca.issue(&key, &["www.example.test"]));
    let client = ca.ca();
    let account = ca.account(&client).await;
    let mut wanted = wanted(&key, &["www.example.test"]);
    wanted.chain = Some("Another Root".into());
    let (issued, _) = drive(&client, &account, &wanted, &solver()).await.unwrap();
    assert_eq!((issued.chain.len(), ca.times("/broken"), ca.times("/missing")), (2, 1, 1));
    assert!(issued.notes.iter().any(|n| n.contains("another chain is skipped")), "{:?}", issued.notes);
}

/// Nonces that are bad for ever are an end, after a bounded number of requests.
#[tokio::test]
async fn bad_nonces_end() {
    let ca = Scripted::start(|_, asked| (asked.path == "/new-order").then(|| problem(400, "badNonce", "again"))).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    let answer = client.advance(&account, &wanted(&new_key(), &["www.example.test"]), &solver(), None, now()).await;
    assert!(matches!(&answer, Err(Error::Later { detail, .. }) if detail.contains("badNonce")), "{answer:?}");
    assert!((10..40).contains(&ca.times("/new-order")), "{}", ca.times("/new-order"));
    let ca = Scripted::start(|_, asked| (asked.path == "/account").then(|| problem(400, "badNonce", "again"))).await;
    let answer = ca.ca().register(new_key(), &[], None, now()).await;
    assert!(matches!(&answer, Err(Error::Later { detail, .. }) if detail.contains("badNonce")), "{answer:?}");
    assert!(ca.times("/account") < 40);
    let ca = Scripted::start(|_, asked| {
        (asked.path == "/nonce").then(|| Response::builder().header("replay-nonce", "").body(Full::<Bytes>::default()).unwrap())
    });
    let answer = ca.await.ca().register(new_key(), &[], None, now()).await;
    assert!(answer.is_ok(), "an empty nonce is the CA's business: {answer:?}");
}

/// What needs no CA to be known is said without one.
#[tokio::test]
async fn orders_that_cannot_be() {
    let ca = Scripted::start(|_, _| None).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    let many: Vec<String> = (0..101).map(|n| format!("n{n}.example.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (names, says) in [
        (&["*.example.test"][..], "wildcard"),
        (&["Www.example.test"], "lower case"),
        (&["www..test"], "no DNS name"),
        (&[], "1 to 100 names"),
        (&many, "1 to 100 names"),
    ] {
        let mut wanted = wanted(&new_key(), &["www.example.test"]);
        wanted.names = names.iter().map(ToString::to_string).collect();
        let answer = client.advance(&account, &wanted, &solver(), None, now()).await;
        assert!(matches!(&answer, Err(Error::Setup(why)) if why.contains(says)), "{says}: {answer:?}");
    }
    assert_eq!(ca.times("/new-order"), 0);
}

/// A crash after the challenge was announced: the CA calls a second announcement malformed, and the order goes on.
#[tokio::test]
async fn a_second_announcement_is_no_failure() {
    let ca = Scripted::start(|_, asked| (asked.path == "/challenge").then(|| problem(400, "malformed", "it is not pending"))).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let Step::Placed { url, .. } = client.advance(&account, &wanted, &solver(), None, now()).await.unwrap() else { panic!() };
    let step = client.advance(&account, &wanted, &solver(), Some(Placed { url: &url, since: now() }), now()).await.unwrap();
    assert!(matches!(step, Step::Waiting { .. }), "{step:?}");
}
