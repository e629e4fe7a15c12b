use std::io;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cli::{explain, status};
use crate::telemetry::admin::{Admin, Api};
use crate::telemetry::inputs::tests::Fixture;
use crate::telemetry::metrics::{Handles, registry};
use crate::telemetry::status::Status;

#[tokio::test]
async fn commands_read_what_the_agent_says() {
    let all = Fixture::working();
    let (inputs, handles) = (all.inputs(), Handles::default());
    let registry = registry(&inputs, &handles);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let api = Arc::new(Api::new(inputs, handles.traffic, registry, all.update.clone()));
    tokio::spawn(Admin::bind(&socket).await.unwrap().serve(api, CancellationToken::new()));

    let mut out = Vec::new();
    status::print(&socket, true, &mut out).await.unwrap();
    assert_eq!(serde_json::from_slice::<Status>(&out).unwrap(), all.status());
    out.clear();
    status::print(&socket, false, &mut out).await.unwrap();
    assert!(String::from_utf8(std::mem::take(&mut out)).unwrap().contains("\nprod/orders  http  198.19.0.7  "));

    let mut gone = io::pipe().unwrap().1;
    let left = status::print(&socket, true, &mut gone).await.unwrap_err();
    assert!(matches!(&left, crate::cli::Error::Output(why) if why.kind() == io::ErrorKind::BrokenPipe), "{left}");

    for (name, known) in [("prod/orders", true), ("web-1", true), ("a b&q=orders", false)] {
        assert_eq!(explain::print(&socket, name, false, &mut out).await.unwrap(), known, "{name}");
    }
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("Nothing here is called a b&q=orders."), "{text}");

    let refused = explain::print(&socket, &"x".repeat(1000), false, &mut Vec::new()).await.unwrap_err();
    assert!(
        matches!(&refused, crate::cli::Error::Agent(Error::Refused { status: StatusCode::BAD_REQUEST, .. })),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(get(&socket, "/status").await, Err(Error::Timeout(..))));
}

#[tokio::test]
async fn something_else_at_the_socket_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        for answer in [
            "SSH-2.0\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
        }
    });
    assert!(matches!(get(&socket, "/status").await, Err(Error::Http { .. })));
    assert!(get(&socket, "/status").await.is_err(), "a body that breaks off");
    let body = get(&socket, "/status").await.unwrap();
    assert!(matches!(parse::<Status>(&socket, &body), Err(Error::Answer { .. })));
    server.await.unwrap();
}
