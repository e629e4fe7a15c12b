use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::model::error_chain;

const LIMITS: Limits = Limits::new(Duration::from_secs(5), 10);

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

/// A server that gives each connection the next answer, and the requests' heads.
async fn server(answers: &'static [&'static str]) -> (Url, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = url(&format!("http://{}/secret?token=hidden", listener.local_addr().unwrap()));
    let serve = async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            heads.push(exchange(stream, answer).await.unwrap());
        }
        heads
    };
    (base, tokio::spawn(serve))
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    stream.write_all(answer.as_bytes()).await?;
    Ok(String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn an_answer_has_a_status_and_a_bounded_body() {
    let (url, server) = server(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n0123456789a",
        "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    ])
    .await;
    let client = Client::new(LIMITS).unwrap();
    let answer = client.get(&url).header("x-asked", "yes").send().await.unwrap();
    assert_eq!((answer.status(), answer.body().await.unwrap().as_slice()), (StatusCode::OK, &b"0123456789"[..]));
    let long = client.get(&url).send().await.unwrap().body().await.unwrap_err();
    assert_eq!(long.to_string(), "the answer is longer than 10 bytes");
    let refused = client.get(&url).send().await.unwrap();
    let status = refused.success().unwrap_err();
    assert_eq!((status.status(), status.is_connect()), (Some(StatusCode::SERVICE_UNAVAILABLE), false));
    let moved = client.get(&url).send().await.unwrap();
    assert_eq!(moved.status(), StatusCode::FOUND, "nobody follows");

    let heads = server.await.unwrap();
    assert!(heads[0].starts_with("GET /secret?token=hidden HTTP/1.1\r\n") && heads[0].contains("\r\nx-asked: yes\r\n"));
    assert!(heads[0].contains(&format!("\r\nuser-agent: {USER_AGENT}\r\n")), "{heads:?}");
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart_and_shows_no_url() {
    let (url, server) = server(&["SSH-2.0\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"]).await;
    let client = Client::new(LIMITS).unwrap();
    let strange = client.get(&url).send().await.unwrap_err();
    let broken = client.get(&url).send().await.unwrap().body().await.unwrap_err();
    server.await.unwrap();
    let nobody = client.get(&url).send().await.unwrap_err();
    assert!(nobody.is_connect() && !strange.is_connect() && !broken.is_connect());
    for error in [strange, broken, nobody] {
        assert!(!error.is_timeout() && error.status().is_none());
        assert!(!format!("{error:?} {}", error_chain(&error)).contains("hidden"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&format!("http://{}/", listener.local_addr().unwrap()));
    let client = Client::new(Limits::new(Duration::from_millis(20), 0)).unwrap();
    let (asked, accepted) = tokio::join!(client.get(&url).send(), listener.accept());
    assert!(asked.unwrap_err().is_timeout() && accepted.is_ok());
}

#[tokio::test]
async fn a_server_at_a_unix_socket_is_asked_alike() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let client = Client::at_socket(&socket, LIMITS).unwrap();
    let url = url("http://meshdog/update");
    assert!(client.post(&url).send().await.unwrap_err().is_connect());
    let listener = UnixListener::bind(&socket).unwrap();
    let serve =
        async { exchange(listener.accept().await.unwrap().0, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await };
    let (answer, head) = tokio::join!(client.post(&url).send(), serve);
    assert!(head.unwrap().starts_with("POST /update HTTP/1.1\r\n"));
    assert_eq!(answer.unwrap().body().await.unwrap(), b"ok");
}

fn below_text(base: &str) -> String {
    below(&base.parse().unwrap(), &["v1", "pre-reboot"]).to_string()
}

#[test]
fn a_base_keeps_its_own_path() {
    for (base, url) in [
        ("http://h:1", "http://h:1/v1/pre-reboot"),
        ("http://h:1/", "http://h:1/v1/pre-reboot"),
        ("http://h:1/base", "http://h:1/base/v1/pre-reboot"),
        ("http://h:1/base/", "http://h:1/base/v1/pre-reboot"),
    ] {
        assert_eq!(below_text(base), url);
    }
}
