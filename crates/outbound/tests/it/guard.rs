//! Nothing inside is dialled unless it was allowed by name.

use http::Response;
use http_body_util::Full;
use hyper::body::Bytes;
use outbound::{Blame, Phase};

use crate::servers::{http, https, identity, text};
use crate::{client, get};

#[tokio::test]
async fn an_inside_address_is_refused_in_every_disguise() {
    let server = http(|_| text(200, "reached")).await;
    let port = server.address.port();
    let client = client(&[], |_| ());
    for host in ["127.0.0.1", "localhost", "LOCALHOST.", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001", "0.0.0.0"] {
        let error = client.send(get(format!("https://{host}:{port}/"))).await.unwrap_err();
        // Whether a resolver takes the odd spellings is its own business; if it does, the address is judged.
        let expected = [(Phase::Guard, Blame::Local, false), (Phase::Resolve, Blame::Dns, true)];
        assert!(expected.contains(&(error.phase, error.blame, error.retry)), "{host}: {error:?}");
    }
    let error = client.send(get(format!("https://localhost:{port}/"))).await.unwrap_err();
    assert_eq!(error.phase, Phase::Guard);
    assert!(error.to_string().contains("inside address (loopback)"), "{error}");
    assert!(error.to_string().contains(&format!("(host localhost:{port})")), "{error}");
    assert_eq!(server.connections(), 0, "refused means: not even dialled");
}

#[tokio::test]
async fn metadata_and_private_addresses_are_refused_without_dialling() {
    let client = client(&["alertmanager.internal"], |_| ());
    for host in ["169.254.169.254", "10.0.0.1", "192.168.1.1", "100.64.0.1", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"] {
        let error = client.send(get(format!("https://{host}/latest/meta-data/"))).await.unwrap_err();
        assert_eq!((error.phase, error.retry), (Phase::Guard, false), "{host}: {error}");
        assert!(!error.to_string().contains("meta-data"), "the path may be a secret: {error}");
    }
}

#[tokio::test]
async fn what_counts_is_the_name_in_the_url() {
    let server = http(|seen| text(200, if seen.head.uri.path() == "/x" { "x" } else { "other" })).await;
    let port = server.address.port();
    let by_address = format!("http://127.0.0.1:{port}/x");
    let by_name = format!("http://localhost:{port}/x");

    // A name without a port allows every port, a name with one allows that one.
    for entry in ["localhost".to_owned(), format!("localhost:{port}"), format!(" LocalHost.:{port}").replace(".:", ":")] {
        let client = client(&[&entry], |_| ());
        assert_eq!(client.send(get(&by_name)).await.unwrap().body, "x", "{entry}");
        assert!(client.send(get(&by_address)).await.is_err(), "{entry} does not allow where it leads");
    }
    let client = client(&["localhost:1"], |_| ());
    assert!(client.send(get(&by_name)).await.is_err(), "another port");
}

#[tokio::test]
async fn plain_text_goes_to_allowed_names_only() {
    let error = client(&[], |_| ()).send(get("http://example.com/")).await.unwrap_err();
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Prepare, Blame::Local, false));
    assert!(error.detail.contains("https://"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_a_way_inside() {
    let target = http(|_| text(200, "inside")).await;
    let inside = target.url("/secret");
    let door = http(move |seen| {
        let to = if seen.head.uri.path() == "/cloud" { "http://169.254.169.254/latest/" } else { &inside };
        Response::builder().status(302).header("location", to).body(Full::<Bytes>::default()).unwrap()
    })
    .await;
    let client = client(&[&door.host()], |_| ());
    for path in ["/cloud", "/neighbour"] {
        let response = client.send(get(door.url(path))).await.unwrap();
        assert_eq!(response.status, 302);
        assert!(response.body.is_empty());
    }
    assert_eq!(door.connections(), 2, "one connection per request and no further one");
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn an_operators_client_talks_to_its_server_alone() {
    let identity = identity("localhost", false);
    let server =
        https(&identity, |seen| text(200, if seen.head.headers.contains_key("authorization") { "with token" } else { "without" })).await;
    let other = http(|_| text(200, "other")).await;
    let port = server.address.port();
    let roots = outbound::roots_from_pem(identity.roots_pem.as_bytes()).unwrap();
    let client = outbound::Client::for_server(&format!("https://localhost:{port}"), roots, 1 << 20).unwrap();

    let mut request = get(format!("https://localhost:{port}/v1/status"));
    request.headers.insert("authorization", "Bearer t".parse().unwrap());
    assert_eq!(client.send(request).await.unwrap().body, "with token");
    for elsewhere in [other.url("/"), "https://example.com/".into(), format!("https://127.0.0.1:{port}/")] {
        let error = client.send(get(&elsewhere)).await.unwrap_err();
        assert_eq!(error.phase, Phase::Prepare, "{elsewhere}: {error}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_token_crosses_no_network_in_plain_text() {
    let make = |base: &str| outbound::Client::for_server(base, rustls::RootCertStore::empty(), 1024);
    assert!(make("http://store.example.com").unwrap_err().to_string().contains("plain text"));
    assert!(make("http://10.0.0.1:8443").is_err());
    assert!(make("nonsense").is_err());
    let server = http(|_| text(200, "here")).await;
    let client = make(&server.url("")).unwrap();
    assert_eq!(client.send(get(server.url("/"))).await.unwrap().body, "here");
}
