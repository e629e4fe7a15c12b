use serde_json::json;

use super::*;

/// The shape of a real host's answer (aws-ecs-2, 1.20.5).
fn answer() -> Value {
    json!({
        "motd": "Welcome!",
        "aws": {"region": "us-west-2"},
        "autoscaling": {"should-wait": false},
        "ecs": {"cluster": "prod", "instance-attributes": {"mesh.meshdog": "v1"}, "loglevel": "info",
                "logging-drivers": ["json-file", "none"], "image-pull-behavior": "default"},
        "host-containers": {"admin": {"enabled": false, "superpowered": true, "user-data": "e30=", "source": "a:1"}},
        "kernel": {"lockdown": "integrity", "modules": {"sctp": {"allowed": false}}, "sysctl": {"vm.swappiness": "10"}},
        "metrics": {"send-metrics": true, "service-checks": ["docker", "ecs"]},
        "network": {"hostname": "ip-10-0-12-34", "hosts": [["127.0.0.2", ["db"]]]},
        "dns": {"name-servers": ["10.0.0.2"]},
        "updates": {"seed": 1409, "version-lock": "v1.20.4", "ignore-waves": false}
    })
}

#[test]
fn reads_what_it_models_and_writes_everything_back() {
    let settings: Settings = serde_json::from_value(answer()).unwrap();
    assert_eq!(settings.aws.as_ref().unwrap().region.as_deref(), Some("us-west-2"));
    let ecs = settings.ecs.as_ref().unwrap();
    assert_eq!(ecs.loglevel, Some(EcsLogLevel::Info));
    assert_eq!(ecs.instance_attributes.as_ref().unwrap()["mesh.meshdog"], "v1");
    let network = settings.network.as_ref().unwrap();
    assert_eq!(network.hosts.as_ref().unwrap()[0], ("127.0.0.2".parse().unwrap(), vec!["db".to_owned()]));
    assert_eq!(settings.updates.as_ref().unwrap().version_lock.as_deref(), Some("v1.20.4"));
    assert_eq!(settings.kernel.as_ref().unwrap().modules.as_ref().unwrap()["sctp"].allowed, Some(false));
    assert!(settings.rest.0.contains_key("autoscaling"));
    assert_eq!(serde_json::to_value(&settings).unwrap(), answer());
}

#[test]
fn a_field_of_another_type_leaves_the_others_readable() {
    let odd = json!({
        "motd": 5,
        "aws": "nowhere",
        "ecs": {"cluster": "prod", "reserved-memory": 70000, "loglevel": ["info"], "new-thing": {"x": 1}},
        "network": {"hostname": null, "no-proxy": ["a", 1]},
    });
    let settings: Settings = serde_json::from_value(odd).unwrap();
    assert_eq!((&settings.motd, &settings.aws), (&None, &None));
    let ecs = settings.ecs.as_ref().unwrap();
    assert_eq!((ecs.cluster.as_deref(), ecs.reserved_memory, &ecs.loglevel), (Some("prod"), None, &None));
    assert_eq!(settings.network.as_ref().unwrap().hostname, None);
    assert_eq!(
        serde_json::to_value(&settings).unwrap(),
        json!({
            "motd": 5,
            "aws": "nowhere",
            "ecs": {"cluster": "prod", "reserved-memory": 70000, "loglevel": ["info"], "new-thing": {"x": 1}},
            "network": {"no-proxy": ["a", 1]},
        })
    );
}

#[test]
fn a_field_that_is_set_replaces_what_could_not_be_read() {
    let mut settings: Settings = serde_json::from_value(json!({"motd": 5})).unwrap();
    settings.motd = Some("hello".to_owned());
    assert_eq!(serde_json::to_string(&settings).unwrap(), r#"{"motd":"hello"}"#);
}

#[test]
fn unknown_words_survive() {
    let kernel: Kernel = serde_json::from_value(json!({"lockdown": "paranoia"})).unwrap();
    assert_eq!(kernel.lockdown, Some(Lockdown::Other("paranoia".to_owned())));
    assert_eq!(serde_json::to_value(&kernel).unwrap(), json!({"lockdown": "paranoia"}));
}

#[test]
fn the_tree_must_be_an_object() {
    for text in ["[]", "null", "\"x\"", "", "{\"motd\":\"x\"", "{\"motd\":\"x\"} y"] {
        assert!(serde_json::from_str::<Settings>(text).is_err(), "{text}");
    }
}

#[test]
fn debug_shows_no_secrets() {
    let settings: Settings = serde_json::from_value(json!({
        "aws": {"credentials": "c2VjcmV0"},
        "host-containers": {"meshdog": {"user-data": "c2VjcmV0"}},
        "container-registry": {"credentials": [{"password": "c2VjcmV0"}]},
    }))
    .unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
    assert!(shown.contains("container-registry"), "{shown}");
}

#[test]
fn difference_is_what_the_host_lacks() {
    let live = answer();
    let cases = [
        (json!({"motd": "Welcome!"}), None),
        (json!({"motd": null, "ecs": {}}), None),
        (json!({"motd": "x", "ecs": {"cluster": "prod"}}), Some(json!({"motd": "x"}))),
        (json!({"ecs": {"logging-drivers": ["none"]}}), Some(json!({"ecs": {"logging-drivers": ["none"]}}))),
        (json!({"pki": {"a": {"trusted": true}}}), Some(json!({"pki": {"a": {"trusted": true}}}))),
        (json!({"motd": {"not": "a string there"}}), Some(json!({"motd": {"not": "a string there"}}))),
    ];
    for (wanted, left) in cases {
        assert_eq!(difference(wanted.clone(), Some(&live)), left, "{wanted}");
    }
}
