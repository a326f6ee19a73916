//! CAs that ask for patience, and what they suggest for renewals: obeyed within limits, and never at the price of a renewal.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use acme::{Error, Placed, Step, ari::Window, patience};
use pki::{Authority, KeyType, Span, Time};
use serde_json::json;

use crate::{
    scripted::{Answer, Scripted, answer, json_answer, problem, solver},
    support::{drive, new_key, now, wanted},
};

fn after(mut answer: Answer, header: &str) -> Answer {
    answer.headers_mut().insert("retry-after", header.parse().unwrap());
    answer
}

#[tokio::test]
async fn limits_with_absurd_waits() {
    for (header, expected, said) in [
        ("120", 120, ""),
        ("315360000", patience::MOST, "315360000 s; 86400 s are kept"),
        ("-5", 3600, ""),
        ("Wed, 21 Oct 2065 07:28:00 GMT", patience::MOST, "2065"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", patience::LEAST, "1 s are kept"),
        ("soon", 3600, ""),
    ] {
        let script = move |_: &Scripted, asked: &crate::scripted::Asked| {
            (asked.path == "/new-order").then(|| after(problem(429, "rateLimited", "too many certificates"), header))
        };
        let ca = Scripted::start(script).await;
        let client = ca.ca();
        let account = ca.account(&client).await;
        let answer = client.advance(&account, &wanted(&new_key(), &["www.example.test"]), &solver(), None, now()).await;
        match answer {
            Err(Error::Later { detail, after, .. }) => {
                assert_eq!(after, expected, "{header}: {detail}");
                assert!(detail.contains("too many certificates") && detail.contains(said), "{header}: {detail}");
            }
            other => panic!("{header}: {other:?}"),
        }
        assert_eq!(ca.times("/new-order"), 1, "whoever is limited is not asked again at once");
    }
    // A balancer in front of the CA, which speaks no ACME.
    let script = |_: &Scripted, asked: &crate::scripted::Asked| {
        (asked.path == "/new-order").then(|| after(answer(503, "text/html", "<h1>503</h1>"), "77"))
    };
    let ca = Scripted::start(script).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    let answer = client.advance(&account, &wanted(&new_key(), &["www.example.test"]), &solver(), None, now()).await;
    assert!(matches!(&answer, Err(Error::Later { after: 77, detail, whose: acme::Whose::Limit }) if detail.contains("503")), "{answer:?}");
}

/// For an hour, then it is there. Nobody waits in a loop: each answer says when to come back, less and less often.
#[tokio::test]
async fn processing_for_an_hour() {
    let header = Arc::new(std::sync::Mutex::new(None::<&'static str>));
    let (done, asked_header) = (Arc::new(AtomicUsize::new(0)), header.clone());
    let ready = done.clone();
    let script = move |ca: &Scripted, asked: &crate::scripted::Asked| {
        let busy = ready.load(Ordering::SeqCst) == 0;
        let mut order = ca.order();
        let in_work = ca.times("/finalize") > 0 && busy;
        let works = (asked.path == "/finalize" && busy) || (asked.path == "/order" && in_work);
        if !works {
            return None;
        }
        order["status"] = json!("processing");
        let answer = json_answer(200, &order);
        Some(match *asked_header.lock().unwrap() {
            Some(header) => after(answer, header),
            None => answer,
        })
    };
    let ca = Scripted::start(script).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    let key = new_key();
    ca.hand_out(ca.issue(&key, &["www.example.test"]));
    let wanted = wanted(&key, &["www.example.test"]);
    let since = now();
    let Step::Placed { url, .. } = client.advance(&account, &wanted, &solver(), None, since).await.unwrap() else { panic!() };
    let (mut at, mut questions) = (since, 0);
    while at < since + Span::seconds(3600) {
        let step = client.advance(&account, &wanted, &solver(), Some(Placed { url: &url, since }), at).await.unwrap();
        let Step::Waiting { after, .. } = step else { panic!("{step:?}") };
        assert!((patience::LEAST..=patience::MOST_BETWEEN).contains(&after));
        at = at + Span::seconds(after);
        questions += 1;
    }
    assert!((15..60).contains(&questions), "{questions}");
    assert_eq!(ca.times("/finalize"), 1, "the certificate is asked for once");
    *header.lock().unwrap() = Some("315360000");
    let step = client.advance(&account, &wanted, &solver(), Some(Placed { url: &url, since }), at).await.unwrap();
    let Step::Waiting { after, notes, awaits } = step else { panic!() };
    assert_eq!(after, patience::MOST_BETWEEN);
    assert!(awaits.contains("processing") && notes[0].contains("asked again after 600 s"), "{notes:?}");
    done.store(1, Ordering::SeqCst);
    // At the CA it is valid only when it says so.
    let step = client.advance(&account, &wanted, &solver(), Some(Placed { url: &url, since }), at).await.unwrap();
    assert!(matches!(step, Step::Issued(_) | Step::Waiting { .. }), "{step:?}");
}

#[tokio::test]
async fn profiles_and_what_is_replaced() {
    let ca = Scripted::start(|_, _| None).await;
    let client = ca.ca();
    let facts = client.facts(now()).await.unwrap();
    assert_eq!(facts.profiles.get("short").map(String::as_str), Some("six days\\u{1b}[31m"));
    let account = ca.account(&client).await;
    let key = new_key();
    ca.hand_out(ca.issue(&key, &["www.example.test"]));
    let mut wanted = wanted(&key, &["www.example.test"]);
    wanted.profile = Some("short".into());
    wanted.replaces = Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".into());
    drive(&client, &account, &wanted, &solver()).await.unwrap();
    let order = ca.last("/new-order").payload;
    assert_eq!((order["profile"].as_str(), order["replaces"].as_str()), (Some("short"), wanted.replaces.as_deref()));

    wanted.profile = Some("eternal".into());
    let answer = client.advance(&account, &wanted, &solver(), None, now()).await;
    assert!(matches!(&answer, Err(Error::Setup(why)) if why.contains("no profile eternal; it has: classic, short")), "{answer:?}");

    // The CA knows of another replacement already: no reason not to renew, and said.
    let taken = |_: &Scripted, asked: &crate::scripted::Asked| {
        let replaces = asked.path == "/new-order" && asked.payload["replaces"].is_string();
        replaces.then(|| problem(409, "alreadyReplaced", "it was replaced"))
    };
    let ca = Scripted::start(taken).await;
    let client = ca.ca();
    let account = ca.account(&client).await;
    wanted.profile = None;
    let step = client.advance(&account, &wanted, &solver(), None, now()).await.unwrap();
    assert!(matches!(&step, Step::Placed { notes, .. } if notes[0].contains("it was replaced")), "{step:?}");
}

#[tokio::test]
async fn what_the_ca_suggests_for_a_renewal() {
    let (from, until) = (now(), now() + Span::seconds(8_000_000));
    let root = Authority::new("Root", from, until).unwrap();
    let (leaf, _) = root.leaf(&["www.example.test"], KeyType::EcdsaP256, from, until).unwrap();
    let id = leaf.acme_id().unwrap().encode();
    let path: &'static str = Box::leak(format!("/ari/{id}").into_boxed_str());
    let suggests = async |with: Box<dyn Fn() -> Answer + Send + Sync>| {
        let ca = Scripted::start(move |_, asked| (asked.path == path).then(&with)).await;
        ca.ca().suggestion(&id, now()).await
    };
    let window = |start: Time, end: Time| {
        let body = json!({ "suggestedWindow": { "start": start.to_string(), "end": end.to_string() }, "explanationURL": "https://ca/why" });
        move || after(json_answer(200, &body), "21600")
    };
    let at = |seconds: i64| now() + Span::seconds(seconds);
    let good = suggests(Box::new(window(at(1000), at(2000)))).await.unwrap();
    assert!(
        matches!(good.window, Window::Within(..)) && good.explanation.as_deref() == Some("https://ca/why") && good.again == 21_600,
        "{good:?}"
    );
    let past = suggests(Box::new(window(at(-2000), at(-1000)))).await.unwrap();
    assert_eq!(past.window, Window::Now);
    let inverted = suggests(Box::new(window(at(2000), at(1000)))).await.unwrap();
    assert!(inverted.window == Window::ByPolicy && inverted.note.unwrap().contains("before it begins"));
    let odd = suggests(Box::new(|| after(answer(200, "application/json", "{\"suggestedWindow\":{}}"), "315360000"))).await.unwrap();
    assert!(odd.window == Window::ByPolicy && odd.again == 86_400 && odd.note.unwrap().contains("cannot be read"));
    let page = suggests(Box::new(|| answer(200, "text/html", "<html>"))).await;
    assert!(matches!(&page, Err(Error::Later { detail, .. }) if detail.contains("text/html")), "{page:?}");
    let down = suggests(Box::new(|| after(problem(500, "serverInternal", "oops"), "600"))).await;
    assert!(matches!(&down, Err(Error::Later { after: 600, .. })), "{down:?}");
    let without = Scripted::start(|ca, asked| {
        let url = |path: &str| format!("{}{path}", ca.base);
        let body = json!({ "newNonce": url("/nonce"), "newAccount": url("/account"), "newOrder": url("/new-order") });
        (asked.path == "/dir").then(|| json_answer(200, &body))
    });
    let without = without.await.ca().suggestion(&id, now()).await.unwrap();
    assert!(without.window == Window::ByPolicy && without.note.unwrap().contains("no renewalInfo"));
}
