use serde_json::{Value, json};

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
