use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Serves one canned answer a connection; a path that is not known gets 404.
async fn agent(answers: Vec<(&'static str, String)>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            let n = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let found = answers.iter().find(|(path, _)| request.starts_with(&format!("GET {path} ")));
            let (status, body) = found.map_or(("404 Not Found", ""), |(_, body)| ("200 OK", body));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    base
}

const TASK: &str = r#"{"Arn":"a","Containers":[
    {"DockerId":"other","Ports":[{"ContainerPort":1,"Protocol":"tcp","HostPort":1}]},
    {"DockerId":"c1","Ports":[{"ContainerPort":8080,"Protocol":"tcp","HostPort":0},{"ContainerPort":53,"Protocol":"udp","HostPort":5353},
                              {"ContainerPort":9,"Protocol":"sctp","HostPort":9}]}]}"#;

#[tokio::test]
async fn ports_of_a_host_network_container() {
    let base = agent(vec![("/v1/tasks?dockerid=c1", TASK.into())]).await;
    let (ecs, source) = Ecs::new(base).unwrap();
    let ports = ecs.ports("c1").await.unwrap();
    let ports: Vec<(u16, L4)> = ports.iter().map(|(port, l4)| (port.get(), *l4)).collect();
    assert_eq!(ports, [(5353, L4::Udp), (8080, L4::Tcp)]);
    assert_eq!(source.borrow().state, SourceState::Up);
}

#[tokio::test]
async fn a_container_that_ecs_does_not_know_has_no_ports() {
    let base = agent(vec![("/v1/tasks?dockerid=c1", r#"{"Containers":[{"DockerId":"c2"}]}"#.into())]).await;
    let (ecs, _source) = Ecs::new(base).unwrap();
    assert!(ecs.get("/v1/tasks", Some("c9")).await.unwrap().is_none());
    let task = ecs.get("/v1/tasks", Some("c1")).await.unwrap().unwrap();
    assert_eq!(ports_of(serde_json::from_slice(&task).unwrap(), "c1"), None);
}

#[tokio::test]
async fn a_node_without_ecs_is_off_and_one_that_lost_it_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let (ecs, source) = Ecs::new(base.clone()).unwrap();
    ecs.note(ecs.get("/v1/metadata", None).await.map(drop));
    assert_eq!(source.borrow().state, SourceState::Off);
    ecs.note(Ok(()));
    ecs.note(ecs.get("/v1/metadata", None).await.map(drop));
    let state = source.borrow().state.clone();
    assert!(matches!(&state, SourceState::Down(reason) if reason.contains("paths.ecs_introspection")), "{state:?}");
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    let base = agent(vec![("/v1/metadata", "x".repeat(LIMITS.body + 1))]).await;
    let (ecs, _source) = Ecs::new(base).unwrap();
    assert!(matches!(ecs.get("/v1/metadata", None).await, Err(Error::Http(http::Error::TooLong(_)))));
}
