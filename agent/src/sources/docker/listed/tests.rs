use serde_json::{Value, json};

use super::super::inspect;
use super::*;

fn entry(change: impl FnOnce(&mut Value)) -> ContainerSummary {
    let mut entry = json!({
        "Id": "c1", "Names": ["/web", "/client/web"], "Image": "web", "ImageID": "sha256:1", "Created": 1,
        "Labels": {"a": "1", "b": "2"}, "State": "running", "Status": "Up 3 minutes (healthy)",
        "HostConfig": {"NetworkMode": "default"},
        "Ports": [{"PrivatePort": 80, "Type": "tcp"}, {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp", "IP": "0.0.0.0"}],
        "NetworkSettings": {"Networks": {
            "bridge": {"NetworkID": "n0", "EndpointID": "e0", "IPAddress": "172.17.0.2"},
            "app": {"NetworkID": "n1", "EndpointID": "e1", "IPAddress": "172.18.0.2"},
        }},
    });
    change(&mut entry);
    serde_json::from_value(entry).unwrap()
}

fn inspected() -> Inspected {
    let response = json!({
        "Id": "c1", "Name": "/web", "State": {"Running": true, "Health": {"Status": "healthy"}},
        "Config": {"Image": "web", "Labels": {}}, "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {
            "bridge": {"NetworkID": "n0", "EndpointID": "e0", "IPAddress": "172.17.0.2"},
            "app": {"NetworkID": "n1", "EndpointID": "e1", "IPAddress": "172.18.0.2"},
        }},
    });
    inspect::digest(serde_json::from_value(response).unwrap()).unwrap()
}

#[test]
fn a_digest_is_of_what_changes_only_when_something_happens() {
    let same = |change: &dyn Fn(&mut Value)| digest(&entry(change)) == digest(&entry(|_| {}));
    assert!(same(&|e| e["Status"] = json!("Up 4 minutes (healthy)")));
    assert!(same(&|e| e["Names"].as_array_mut().unwrap().reverse()));
    assert!(same(&|e| e["Ports"].as_array_mut().unwrap().reverse()));
    assert!(same(&|e| e["Command"] = json!("x")));
    let changes: [&dyn Fn(&mut Value); 11] = [
        &|e| e["Status"] = json!("Up 3 minutes (unhealthy)"),
        &|e| e["State"] = json!("paused"),
        &|e| e["Names"] = json!(["/web2"]),
        &|e| e["Image"] = json!("web:2"),
        &|e| e["ImageID"] = json!("sha256:2"),
        &|e| e["Created"] = json!(2),
        &|e| e["Labels"]["a"] = json!("2"),
        &|e| e["NetworkSettings"]["Networks"]["app"]["IPAddress"] = json!("172.18.0.3"),
        // A restart that nobody told of.
        &|e| e["NetworkSettings"]["Networks"]["app"]["EndpointID"] = json!("e2"),
        &|e| drop(e["NetworkSettings"]["Networks"].as_object_mut().unwrap().remove("app")),
        &|e| e["Ports"] = json!([]),
    ];
    for (number, change) in changes.iter().enumerate() {
        assert!(!same(change), "change {number}");
    }
}

#[test]
fn what_both_know_must_agree() {
    let known = inspected();
    let agrees =
        |change: &dyn Fn(&mut Value)| Listed::read(entry(change)).unwrap().agrees(&known, DockerHealth::Healthy, false);
    assert!(agrees(&|_| {}));
    // Docker of an older kind, or another one altogether, says less.
    for missing in ["Names", "Status", "State", "NetworkSettings", "Labels", "Ports", "HostConfig"] {
        assert!(agrees(&|e| drop(e.as_object_mut().unwrap().remove(missing))), "{missing}");
    }
    assert!(!agrees(&|e| e["Names"] = json!(["/other"])));
    assert!(!agrees(&|e| e["Status"] = json!("Up 3 minutes (unhealthy)")));
    assert!(!agrees(&|e| e["Status"] = json!("Up 3 minutes")));
    assert!(!agrees(&|e| {
        e["State"] = json!("paused");
        e["Status"] = json!("Up 3 minutes (Paused)");
    }));
    assert!(!agrees(&|e| e["NetworkSettings"]["Networks"]["app"]["IPAddress"] = json!("172.18.0.3")));
    assert!(!agrees(&|e| drop(e["NetworkSettings"]["Networks"].as_object_mut().unwrap().remove("app"))));
}

#[test]
fn one_between_two_lives_does_not_run() {
    for (state, runs) in [("running", true), ("paused", true), ("restarting", false), ("exited", false)] {
        assert_eq!(Listed::read(entry(|e| e["State"] = json!(state))).is_some(), runs, "{state}");
    }
}

#[test]
fn a_list_tells_of_the_dead_as_far_as_it_knows() {
    let ended = |status: &str| {
        ended(entry(|e| {
            e["Status"] = json!(status);
            e["Labels"] = json!({"meshdog.orders.port": "80", "other": "x"});
        }))
    };
    let (id, death, ago_ms) = ended("Exited (137) 12 seconds ago").unwrap();
    assert_eq!((&*id, &*death.name, death.exit_code, ago_ms), ("c1", "web", Some(137), 12_000));
    assert_eq!(&*death.services[0], "orders");
    for (status, ago_ms) in [
        ("Exited (0) Less than a second ago", Some(0)),
        ("Exited (1) 1 second ago", Some(1000)),
        ("Exited (1) About a minute ago", Some(60_000)),
        ("Restarting (1) 3 minutes ago", Some(180_000)),
        ("Exited (1) About an hour ago", Some(3_600_000)),
        ("Exited (1) 2 hours ago", None),
        ("Exited (1) 99999999999 minutes ago", None),
        ("Exited (1)", None),
        ("Up 3 minutes (healthy)", None),
        ("Created", None),
        ("Dead", None),
        ("", None),
    ] {
        assert_eq!(ended(status).map(|(_, _, ago_ms)| ago_ms), ago_ms, "{status}");
    }
}
