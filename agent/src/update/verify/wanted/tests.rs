use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get as route;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::tests::{bound, endpoint, endpoints};
use super::*;
use crate::update::verify::HTTP;

fn one(http: &str) -> Wanted {
    list(&Namespace::default(), &[], &[http.parse().unwrap()], &[]).remove(0)
}

async fn ask(http: &str) -> Finding {
    one(http).look(&http::Client::new(HTTP).unwrap(), None).await
}

/// Answers one connection with this head and bytes without end; gives how many were taken.
async fn endless(head: &'static [u8]) -> (SocketAddr, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let n = stream.read(&mut [0; 4096]).await.unwrap();
        assert!(n > 0);
        stream.write_all(head).await.unwrap();
        let mut taken = 0;
        while let Ok(n) = stream.write(&[b'x'; 65536]).await {
            taken += n;
        }
        taken
    });
    (address, server)
}

#[tokio::test]
async fn the_status_counts_and_redirects_are_not_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&followed);
    let there = move || {
        seen.fetch_add(1, Relaxed);
        async { StatusCode::OK }
    };
    let app = Router::new()
        .route("/200", route(|| async { "well" }))
        .route("/204", route(|| async { StatusCode::NO_CONTENT }))
        .route("/302", route(|| async { Redirect::to("/there") }))
        .route("/500", route(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "oh") }))
        .route("/there", route(there));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    for path in ["200", "204"] {
        assert_eq!(ask(&format!("{base}/{path}")).await.unwrap(), format!("status {path}"));
    }
    assert_eq!(ask(&format!("{base}/302")).await.unwrap_err(), "status 303; 200 to 299 is well");
    assert_eq!(ask(&format!("{base}/404")).await.unwrap_err(), "status 404; 200 to 299 is well");
    assert_eq!(ask(&format!("{base}/500")).await.unwrap_err(), "status 500; 200 to 299 is well");
    assert_eq!(followed.load(Relaxed), 0);
    server.abort();
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    for head in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ] {
        let (address, server) = endless(head).await;
        assert_eq!(ask(&format!("http://{address}/")).await.unwrap(), "status 200");
        // The connection was closed, or this would never end; what was taken stood in the kernel's buffers.
        server.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_http_or_has_no_end_of_its_head_is_refused() {
    for head in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 200 OK\r\nX-Long: "] {
        let (address, server) = endless(head).await;
        let found = ask(&format!("http://{address}/")).await.unwrap_err();
        assert!(found.starts_with("no answer: "), "{found}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn nobody_there() {
    let (socket, refusing) = bound();
    let found = ask(&format!("http://{refusing}/")).await.unwrap_err();
    assert!(found.contains("Connection refused"), "{found}");
    let tcp = list(&Namespace::default(), &[], &[], &[refusing]).remove(0);
    let found = tcp.look(&http::Client::new(HTTP).unwrap(), None).await.unwrap_err();
    assert!(found.starts_with("no connection: Connection refused"), "{found}");
    let _listener = socket.listen(8).unwrap();
    assert_eq!(tcp.look(&http::Client::new(HTTP).unwrap(), None).await.unwrap(), "accepts connections");
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let (_socket, refusing) = bound();
    let url = format!("http://hidden:hidden@{refusing}/healthz?token=hidden#hidden");
    let wanted = one(&url);
    assert_eq!(&**wanted.name(), format!("http http://{refusing}/healthz?…"));
    let found = wanted.look(&http::Client::new(HTTP).unwrap(), None).await.unwrap_err();
    assert!(!found.contains("hidden") && found.contains("refused"), "{found}");
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let services: Vec<DiscoveryName> = ["orders", "cart", "orders"].map(|name| name.parse().unwrap()).into();
    let http: Vec<Url> = ["http://a/x?k=1", "http://a/x?k=2", "http://a/x"].map(|url| url.parse().unwrap()).into();
    let tcp: Vec<SocketAddr> = ["127.0.0.1:6379", "[::1]:5432"].map(|address| address.parse().unwrap()).into();
    let names: Vec<Arc<str>> =
        list(&"prod".parse().unwrap(), &services, &http, &tcp).iter().map(|wanted| wanted.name().clone()).collect();
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        [
            "service prod/orders",
            "service prod/cart",
            "service prod/orders (2)",
            "http http://a/x?…",
            "http http://a/x?… (2)",
            "http http://a/x",
            "tcp 127.0.0.1:6379",
            "tcp [::1]:5432",
        ]
    );
}

#[test]
fn a_service_needs_one_healthy_endpoint_here() {
    let id: ServiceId = ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() };
    assert_eq!(service(&id, None).unwrap_err(), "no endpoint is known yet");
    let other = endpoints([endpoint("prod/cart", 1, State::Healthy), endpoint("shared/orders", 2, State::Healthy)]);
    assert_eq!(service(&id, Some(&other)).unwrap_err(), "no endpoint runs here");
    let unwell = endpoints([endpoint("prod/orders", 1, State::Starting), endpoint("prod/orders", 2, State::Unhealthy)]);
    let found = service(&id, Some(&unwell)).unwrap_err();
    assert!(found.starts_with("no endpoint here is healthy: ") && found.contains("is starting (so it is)"), "{found}");
    let well = endpoints([endpoint("prod/orders", 1, State::Starting), endpoint("prod/orders", 2, State::Healthy)]);
    assert_eq!(service(&id, Some(&well)).unwrap(), "1 healthy here");
}
