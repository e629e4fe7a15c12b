use axum::extract::Request;
use axum::http::StatusCode;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::*;

fn inspected(labels: Value, ports: Value) -> Option<(Task, Container)> {
    let mut all = json!({TASK: "arn:task/1", NAME: "web", FAMILY: "orders", VERSION: "3"});
    all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    let answer = json!({
        "Id": "a".repeat(64),
        "Name": "/ecs-orders-3-web-abc",
        "Config": {"Image": "web:1", "Labels": all, "ExposedPorts": {"9000/udp": {}}},
        "NetworkSettings": {"Ports": ports},
    });
    read(serde_json::from_value(answer).unwrap())
}

fn ports(labels: Value, ports: Value) -> Vec<(u16, String, u16)> {
    let (_, container) = inspected(labels, ports).unwrap();
    container.ports.into_iter().map(|port| (port.container_port, port.protocol, port.host_port)).collect()
}

#[test]
fn a_container_of_a_task() {
    let (task, container) = inspected(json!({}), json!({})).unwrap();
    assert_eq!((&*task.arn, &*task.family, &*task.version), ("arn:task/1", "orders", "3"));
    assert_eq!((&*container.name, &*container.docker_name), ("web", "ecs-orders-3-web-abc"));
}

#[test]
fn bound_ports_go_before_labels_and_those_before_the_image() {
    let bound = json!({"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "9000/udp": null});
    let label = json!({"simhost.ports": "8081/tcp, 5353/udp, rubbish, 70000/tcp"});
    assert_eq!(ports(label.clone(), bound), [(8080, "tcp".into(), 32768)]);
    assert_eq!(ports(label, json!({})), [(8081, "tcp".into(), 8081), (5353, "udp".into(), 5353)]);
    assert_eq!(ports(json!({}), json!({"9000/udp": null})), [(9000, "udp".into(), 9000)]);
}

#[test]
fn pause_containers_are_left_out() {
    assert!(inspected(json!({NAME: "~internal~ecs~pause"}), json!({})).is_none());
}

/// A dockerd that runs containers of one task, one of which is gone when it is inspected.
async fn dockerd(request: Request) -> (StatusCode, Json<Value>) {
    let path = request.uri().path();
    match path {
        "/containers/json" => {
            assert!(request.uri().query().unwrap().contains("com.amazonaws.ecs.task-arn"));
            (StatusCode::OK, Json(json!([{"Id": "one"}, {"Id": "two"}, {"Id": "gone"}])))
        }
        "/containers/one/json" | "/containers/two/json" => {
            let name = path.split('/').nth(2).unwrap();
            let labels = json!({TASK: "arn:task/1", NAME: name, FAMILY: "orders", VERSION: "3", PORTS: "80/tcp"});
            (StatusCode::OK, Json(json!({"Id": name, "Name": format!("/{name}"), "Config": {"Labels": labels}})))
        }
        _ => (StatusCode::NOT_FOUND, Json(json!({"message": "no such container"}))),
    }
}

#[tokio::test]
async fn containers_of_one_task_are_one_task() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(dockerd)).await.unwrap() });
    let found = tasks(&socket).await.unwrap();
    assert_eq!(found.len(), 1);
    let names: Vec<_> = found[0].containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!((found[0].family.as_str(), names), ("orders", vec!["one", "two"]));
}
