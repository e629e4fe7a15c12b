use super::*;

fn id() -> ContainerId {
    "c0ffee".into()
}

fn container(action: &str, attributes: &str) -> Option<DockerEvent> {
    let line = format!(
        r#"{{"status":"x","Type":"container","Action":"{action}","Actor":{{"ID":"c0ffee","Attributes":{{{attributes}}}}},"scope":"local","time":1,"timeNano":1}}"#
    );
    parse(line.as_bytes())
}

#[test]
fn container_events_are_read() {
    assert_eq!(container("start", r#""image":"x","meshdog.a.port":"80""#), Some(DockerEvent::Started(id())));
    assert_eq!(container("kill", r#""signal":"15""#), Some(DockerEvent::Killed(id(), Some(Signal::TERM))));
    assert_eq!(container("kill", r#""signal":"SIGKILL""#), Some(DockerEvent::Killed(id(), Some(Signal::KILL))));
    assert_eq!(container("kill", ""), Some(DockerEvent::Killed(id(), None)));
    let died = |name: &str, services: &[&str], exit_code| {
        let services = services.iter().map(|service| (*service).into()).collect();
        Some(DockerEvent::Died(id(), Death { name: name.into(), services, exit_code }))
    };
    assert_eq!(container("die", r#""exitCode":"0""#), died("", &[], Some(0)));
    let attributes = r#""execDuration":"1","exitCode":"137","image":"x","name":"web-1","meshdog.orders.port":"80","meshdog.b.namespace":"shared","meshdog.b.port":"1","meshdog.enable":"true","x":"y""#;
    assert_eq!(container("die", attributes), died("web-1", &["shared/b", "orders"], Some(137)));
    assert_eq!(container("die", r#""exitCode":"none of your business""#), died("", &[], None));
    assert_eq!(container("oom", ""), Some(DockerEvent::Starved(id())));
    assert_eq!(container("destroy", ""), Some(DockerEvent::Gone(id())));
    assert_eq!(container("pause", ""), Some(DockerEvent::Paused(id(), true)));
    assert_eq!(container("unpause", ""), Some(DockerEvent::Paused(id(), false)));
    assert_eq!(container("rename", ""), Some(DockerEvent::Changed(id())));
    assert_eq!(container("health_status: healthy", ""), Some(DockerEvent::Health(id(), DockerHealth::Healthy)));
    assert_eq!(container("health_status: unhealthy", ""), Some(DockerEvent::Health(id(), DockerHealth::Unhealthy)));
    assert_eq!(container("health_status: running", ""), Some(DockerEvent::Changed(id())));
    assert_eq!(container("exec_create: /bin/sh -c true", ""), None);
    assert_eq!(container("update", ""), None);
}

#[test]
fn network_events_are_read() {
    let network = |action: &str| {
        let line = format!(
            r#"{{"Type":"network","Action":"{action}","Actor":{{"ID":"n","Attributes":{{"container":"c0ffee","name":"app","type":"bridge"}}}}}}"#
        );
        parse(line.as_bytes())
    };
    assert_eq!(network("create"), Some(DockerEvent::Networks));
    assert_eq!(network("destroy"), Some(DockerEvent::Networks));
    assert_eq!(network("connect"), Some(DockerEvent::Changed(id())));
    assert_eq!(network("disconnect"), Some(DockerEvent::Changed(id())));
    assert_eq!(network("prune"), None);
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    for line in [
        "",
        "{",
        "[]",
        "null",
        r#"{"Type":"container","Action":"start"}"#,
        r#"{"Type":"container","Action":"start","Actor":{"ID":"../../x"}}"#,
        r#"{"Type":"container","Action":"start","Actor":{"ID":7}}"#,
        r#"{"Type":"volume","Action":"create","Actor":{"ID":"v"}}"#,
    ] {
        assert_eq!(parse(line.as_bytes()), None, "{line}");
    }
}
