//! The host as the real client and raw requests see it; what is expected was recorded from the real programs (apiserver
//! and thar-be-updates 1.20.5).

use std::path::Path;

use bottlerocket_settings::{
    Client, CommandKind, CommandOutcome, Ecs, HostContainer, Settings, UpdateAction, UpdateState,
};
use jiff::Timestamp;
use reqwest::Method;
use tempfile::TempDir;

use super::state::{Applier, Fault};
use super::updates::{Ending, ForeignLock};
use super::*;

struct Bench {
    dir: TempDir,
    host: SimHost,
    client: Client,
    raw: reqwest::Client,
}

async fn bench() -> Bench {
    bench_with(|_| {}).await
}

async fn bench_with(change: impl FnOnce(&mut Options)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.offer.versions = ["1.21.1", "1.21.0", "1.20.5"].map(|v| v.parse().unwrap()).to_vec();
    change(&mut options);
    let host = SimHost::start(options).await.unwrap();
    let client = Client::new(&host.api).unwrap();
    let raw = reqwest::Client::builder().unix_socket(host.api.as_path()).no_proxy().build().unwrap();
    Bench { dir, host, client, raw }
}

/// An answer as it was on the wire.
#[derive(Debug, PartialEq)]
struct Raw {
    status: u16,
    content_type: Option<String>,
    body: String,
}

fn raw(status: u16, content_type: Option<&str>, body: &str) -> Raw {
    Raw { status, content_type: content_type.map(str::to_owned), body: body.to_owned() }
}

impl Bench {
    async fn ask(&self, method: Method, uri: &str) -> Raw {
        self.send(self.raw.request(method, format!("http://localhost{uri}"))).await
    }

    async fn patch(&self, tx: &str, body: impl Into<reqwest::Body>) -> Raw {
        let request = self.raw.patch(format!("http://localhost/settings?tx={tx}")).body(body);
        self.send(request.header("content-type", "application/json")).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Raw {
        let answer = request.send().await.unwrap();
        let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        Raw { status: answer.status().as_u16(), content_type, body: answer.text().await.unwrap() }
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> reqwest::Response {
        let request = reqwest::Client::new().request(method, format!("http://{}{path}", self.host.control));
        request.json(&body).send().await.unwrap().error_for_status().unwrap()
    }

    async fn state(&self) -> UpdateState {
        self.client.updates_status().await.unwrap().update_state
    }
}

const JSON: Option<&str> = Some("application/json");
const TEXT: Option<&str> = Some("text/plain; charset=utf-8");

#[tokio::test]
async fn the_client_reads_the_built_in_host() {
    let bench = bench().await;
    let settings = bench.client.settings().await.unwrap();
    assert_eq!(settings.aws.unwrap().region.as_deref(), Some("us-west-2"));
    assert_eq!(settings.ecs.unwrap().cluster.as_deref(), Some("simulated"));
    assert_eq!(settings.network.unwrap().hostname.as_deref(), Some("simhost"));
    assert_eq!(bench.client.os().await.unwrap().variant_id.as_deref(), Some("aws-ecs-2"));
    let some = bench.client.settings_by_keys(&["settings.ecs.cluster", "settings.nosuch"]).await.unwrap();
    assert_eq!((some.motd, some.ecs.unwrap().cluster.as_deref()), (None, Some("simulated")));
    let some = bench.client.settings_by_prefix("host-containers.").await.unwrap();
    assert_eq!(some.host_containers.unwrap().len(), 2);
}

#[tokio::test]
async fn the_built_in_settings_are_ones_the_host_would_take() {
    let body = serde_json::to_vec(&seed::settings(&Instance::default())).unwrap();
    assert!(model::read(&body).is_ok());
}

#[tokio::test]
async fn odd_requests_are_answered_as_recorded() {
    let bench = bench().await;
    let nothing = raw(404, None, "");
    let cases = [
        (Method::POST, "/", &nothing),
        (Method::HEAD, "/", &nothing),
        (Method::GET, "/nosuch", &nothing),
        (Method::GET, "/settings/", &nothing),
        (Method::GET, "//settings", &nothing),
        (Method::POST, "/settings", &nothing),
        (Method::PUT, "/settings", &nothing),
        (Method::DELETE, "/settings", &nothing),
        (Method::OPTIONS, "/settings", &nothing),
        (Method::GET, "/actions/reboot", &nothing),
        (Method::POST, "/actions/nosuch", &nothing),
        (Method::POST, "/updates/status", &nothing),
        (Method::GET, "/tx/commit", &nothing),
        (Method::GET, "/os?prefix=", &raw(400, None, "Input 'prefix' cannot be empty")),
        (Method::GET, "/os?prefix=v", &raw(200, JSON, r#"{"variant_id":"aws-ecs-2","version_id":"1.20.5"}"#)),
        (Method::GET, "/os?prefix=os.version_id", &raw(200, JSON, r#"{"version_id":"1.20.5"}"#)),
        (Method::GET, "/os?prefix=nosuch", &raw(200, JSON, "{}")),
        (Method::GET, "/settings?keys=", &raw(400, None, "Input 'keys' cannot be empty")),
        (
            Method::GET,
            "/settings?keys=settings.motd&keys=settings.updates.seed",
            &raw(200, JSON, r#"{"updates":{"seed":1024}}"#),
        ),
        (
            Method::GET,
            "/settings?keys=settings.motd&prefix=updates",
            &raw(200, JSON, r#"{"motd":"Welcome to Bottlerocket!"}"#),
        ),
        (Method::GET, "/?prefix=settings.motd", &raw(200, JSON, r#"{"settings":{"motd":"Welcome to Bottlerocket!"}}"#)),
        (Method::GET, "/metadata/templates", &raw(400, None, "Missing required input 'keys'")),
        (Method::POST, "/tx/apply?keys=", &raw(400, None, "Input 'keys' cannot be empty")),
        (Method::POST, "/tx/commit", &raw(422, None, "Tried to commit with no pending changes")),
        (Method::DELETE, "/tx?tx=nosuch", &raw(200, JSON, "[]")),
        (Method::GET, "/tx?tx=nosuch", &raw(200, JSON, "{}")),
    ];
    for (method, uri, expected) in cases {
        assert_eq!(bench.ask(method.clone(), uri).await, *expected, "{method} {uri}");
    }
}

#[tokio::test]
async fn changes_are_refused_as_recorded() {
    let bench = bench().await;
    let sections = "`motd`, `updates`, `host-containers`, `bootstrap-containers`, `ntp`, `network`, `kernel`, `boot`, \
                    `aws`, `ecs`, `metrics`, `pki`, `container-registry`, `oci-defaults`, `oci-hooks`, \
                    `cloudformation`, `autoscaling`, `dns`";
    let unknown = |name: &str, column: u32| {
        format!("unknown field `{name}`, expected one of {sections} at line 1 column {column}")
    };
    let cases = [
        (r#"{"settings":{"motd":"x"}}"#, unknown("settings", 11)),
        (r#"{"meshdog":{"x":1}}"#, unknown("meshdog", 10)),
        (
            r#"{"updates":{"nosuch":1}}"#,
            "unknown field `nosuch`, expected one of `metadata-base-url`, `targets-base-url`, `seed`, `version-lock`, \
             `ignore-waves` at line 1 column 20"
                .into(),
        ),
        (
            r#"{"host-containers":{"meshdog":{"command":["a"]}}}"#,
            "unknown field `command`, expected one of `source`, `enabled`, `superpowered`, `user-data` at line 1 \
             column 40"
                .into(),
        ),
        (r#"{"motd":5}"#, "invalid type: integer `5`, expected a string at line 1 column 9".into()),
        (
            r#"{"updates":{"ignore-waves":"yes"}}"#,
            r#"invalid type: string "yes", expected a boolean at line 1 column 32"#.into(),
        ),
        (r#"{"updates":{"seed":-1}}"#, "invalid value: integer `-1`, expected u32 at line 1 column 21".into()),
        (
            r#"{"updates":"latest"}"#,
            r#"invalid type: string "latest", expected struct UpdatesSettingsV1 at line 1 column 19"#.into(),
        ),
        (
            r#"{"kernel":{"lockdown":"nosuch"}}"#,
            "Unable to deserialize into Lockdown: Invalid Linux lockdown mode 'nosuch' at line 1 column 31".into(),
        ),
        (
            r#"{"updates": {"version-lock": "Latest"}}"#,
            "Unable to deserialize into FriendlyVersion: Invalid version string 'Latest' at line 1 column 38".into(),
        ),
        (
            r#"{"host-containers": {"mesh_dog": {"enabled": false}}}"#,
            "Unable to deserialize into Identifier: Identifiers may only contain ASCII alphanumerics plus hyphens, \
             received 'mesh_dog' at line 1 column 31"
                .into(),
        ),
        (
            r#"{"host-containers":{"meshdog2":null}}"#,
            "invalid type: null, expected struct HostContainer at line 1 column 35".into(),
        ),
        (r#"{"motd":"x""#, "EOF while parsing an object at line 1 column 11".into()),
        ("", "EOF while parsing a value at line 1 column 0".into()),
        ("[]", "invalid length 0, expected struct Settings with 18 elements at line 1 column 2".into()),
        (r#"{"motd":"x","motd":"y"}"#, "duplicate field `motd` at line 1 column 18".into()),
        (r#"{"motd":"x"} trailing"#, "trailing characters at line 1 column 14".into()),
    ];
    for (body, why) in cases {
        let expected = raw(400, TEXT, &format!("Json deserialize error: {why}"));
        assert_eq!(bench.patch("t", body).await, expected, "{body}");
    }
    assert_eq!(bench.ask(Method::GET, "/tx/list").await.body, "[]", "what was refused is not pending");

    let untyped = bench.raw.patch("http://localhost/settings").body(r#"{"motd":"x"}"#);
    assert_eq!(bench.send(untyped).await, raw(400, TEXT, "Content type error"));
    let large = bench.patch("t", format!(r#"{{"motd":"{}"}}"#, "a".repeat(3_000_000))).await;
    let text = "JSON payload (3000011 bytes) is larger than allowed (limit: 2097152 bytes).";
    assert_eq!(large, raw(413, TEXT, text));
    let empty = bench.patch("t", r#"{"host-containers": {"": {"enabled": false}}}"#).await;
    assert_eq!((empty.status, empty.content_type), (500, None));
}

#[tokio::test]
async fn what_wants_nothing_is_taken_and_forgotten() {
    let bench = bench().await;
    for body in [r#"{"motd":null}"#, "{}", r#"{"host-containers":{"x":{}}}"#, r#"{"updates":{"version-lock":null}}"#] {
        assert_eq!(bench.patch("t", body).await.status, 204, "{body}");
    }
    assert_eq!(bench.ask(Method::GET, "/tx/list").await.body, "[]");
}

#[tokio::test]
async fn an_identical_value_is_a_change_to_the_host_but_not_to_the_client() {
    let bench = bench().await;
    bench.patch("same", r#"{"motd":"Welcome to Bottlerocket!"}"#).await;
    let committed = bench.ask(Method::POST, "/tx/commit_and_apply?tx=same").await;
    assert_eq!(committed, raw(200, JSON, r#"["settings.motd"]"#));
    let same = Settings { motd: Some("Welcome to Bottlerocket!".to_owned()), ..Settings::default() };
    assert!(bench.client.change(&same).await.unwrap().is_empty());
    assert_eq!(bench.host.state.lock().applied.len(), 1, "the client's change applied nothing");
}

#[tokio::test]
async fn a_change_by_the_client() {
    let bench = bench().await;
    bench.patch("theirs", r#"{"motd":"theirs"}"#).await;
    let container = HostContainer { enabled: Some(true), source: Some("meshdog:1".into()), ..HostContainer::default() };
    let change = Settings {
        host_containers: Some([("meshdog".to_owned(), container)].into()),
        ecs: Some(Ecs { cluster: Some("simulated".to_owned()), ..Ecs::default() }),
        ..Settings::default()
    };
    let mut changed = bench.client.change(&change).await.unwrap();
    changed.sort();
    assert_eq!(changed, ["settings.host-containers.meshdog.enabled", "settings.host-containers.meshdog.source"]);
    assert_eq!(bench.ask(Method::GET, "/tx/list").await.body, r#"["theirs"]"#, "others' transactions are left alone");
}

#[tokio::test]
async fn a_failed_change_by_the_client_leaves_nothing_pending() {
    let bench = bench().await;
    let refused = Settings {
        rest: bottlerocket_settings::Rest(Map::from_iter([("no".into(), 1.into())])),
        ..Settings::default()
    };
    assert_eq!(bench.client.change(&refused).await.unwrap_err().status().unwrap(), 400);

    bench.host.state.lock().applier = Applier::Fails;
    let change = Settings { motd: Some("half".to_owned()), ..Settings::default() };
    let error = bench.client.change(&change).await.unwrap_err();
    assert!(error.to_string().contains("Config applier was unable to fork child, returned 1"), "{error}");
    assert_eq!(bench.client.settings().await.unwrap().motd.as_deref(), Some("half"), "committed nevertheless");
    assert_eq!(bench.ask(Method::GET, "/tx/list").await.body, "[]");
}

#[tokio::test]
async fn a_first_boot_has_no_settings_until_they_are_committed() {
    let bench = bench_with(|options| options.first_boot = true).await;
    let error = bench.client.settings().await.unwrap_err();
    assert!(error.to_string().ends_with("404 Not Found: Found no 'settings' in datastore"), "{error}");
    assert_eq!(bench.ask(Method::GET, "/tx/list").await.body, r#"["bottlerocket-launch"]"#);
    assert_eq!(bench.ask(Method::POST, "/tx/commit?tx=bottlerocket-launch").await.status, 200);
    assert!(bench.client.settings().await.is_ok());
}

#[tokio::test]
async fn what_was_committed_outlives_the_host() {
    let elsewhere = tempfile::tempdir().unwrap();
    let datastore = || Some(elsewhere.path().join("datastore"));
    let bench = bench_with(|options| options.datastore = datastore()).await;
    bench.patch("kept", r#"{"motd":"kept"}"#).await;
    bench.patch("lost", r#"{"motd":"lost"}"#).await;
    assert_eq!(bench.ask(Method::POST, "/tx/commit?tx=kept").await.status, 200);
    drop(bench);
    let bench = bench_with(|options| options.datastore = datastore()).await;
    let settings = bench.client.settings().await.unwrap();
    assert_eq!(settings.motd.as_deref(), Some("kept"));
    assert!(settings.ecs.is_some(), "so does what nobody has changed");
    assert_eq!(bench.ask(Method::GET, "/tx/list").await.body, "[]", "what was pending does not");

    std::fs::create_dir(elsewhere.path().join("datastore.new")).unwrap();
    bench.patch("full", r#"{"motd":"full"}"#).await;
    assert_eq!(bench.ask(Method::POST, "/tx/commit?tx=full").await.status, 500);
}

#[tokio::test]
async fn a_whole_update() {
    let bench = bench().await;
    assert!(bench.client.updates_status().await.unwrap_err().is_uninitialized());
    assert!(bench.client.act(UpdateAction::Prepare).await.unwrap_err().is_wrong_state());
    assert_eq!(bench.state().await, UpdateState::Idle, "a refused action initialises, too");
    let steps = [
        (UpdateAction::Refresh, UpdateState::Available),
        (UpdateAction::Prepare, UpdateState::Staged),
        (UpdateAction::Activate, UpdateState::Ready),
        (UpdateAction::Deactivate, UpdateState::Staged),
        (UpdateAction::Activate, UpdateState::Ready),
    ];
    for (action, state) in steps {
        bench.client.act(action).await.unwrap();
        let status = bench.client.updates_status().await.unwrap();
        assert_eq!((status.update_state, status.most_recent_command.unwrap().cmd_type), (state, action.kind()));
    }
    bench.client.reboot().await.unwrap();
    assert_eq!(std::fs::read_to_string(bench.dir.path().join("reboots")).unwrap().lines().count(), 1);
    bench.control(Method::POST, "/boot", json!({"version": "1.21.1"})).await;
    assert!(bench.client.updates_status().await.unwrap_err().is_uninitialized());
    assert_eq!(bench.client.os().await.unwrap().version_id.as_deref(), Some("1.21.1"));
}

#[tokio::test]
async fn a_version_lock_chooses_even_downwards() {
    let bench =
        bench_with(|options| options.offer.versions = vec!["1.21.1".parse().unwrap(), "1.20.4".parse().unwrap()]).await;
    let lock = r#"{"updates":{"version-lock":"v1.20.4"}}"#;
    bench.patch("l", lock).await;
    bench.ask(Method::POST, "/tx/commit_and_apply?tx=l").await;
    bench.client.act(UpdateAction::Refresh).await.unwrap();
    assert_eq!(bench.client.updates_status().await.unwrap().chosen_update.unwrap().version, "1.20.4");
}

#[tokio::test]
async fn busy_while_an_action_runs() {
    let bench = bench_with(|options| options.takes = Duration::from_secs(3600)).await;
    bench.client.act(UpdateAction::Refresh).await.unwrap();
    let locked =
        "Unable to obtain shared lock for reading update status: Resource temporarily unavailable (os error 11)";
    assert_eq!(bench.ask(Method::GET, "/updates/status").await, raw(423, None, locked));
    let held = raw(423, None, "Update lock held");
    assert_eq!(bench.ask(Method::POST, "/actions/prepare-update").await, held);
    assert!(bench.client.settings().await.is_ok(), "the rest of the API keeps working");
    bench.client.reboot().await.unwrap();
    bench.host.state.lock().updater.settle(Timestamp::MAX);
    assert_eq!(bench.state().await, UpdateState::Available);

    bench.host.state.lock().updater.foreign = ForeignLock::Shared;
    assert_eq!(bench.ask(Method::POST, "/actions/refresh-updates").await, held);
    assert_eq!(bench.state().await, UpdateState::Available);
}

#[tokio::test]
async fn control_makes_updates_end_badly() {
    let bench = bench().await;
    let change = json!({"ending": {"exit": [1, "no network"]}, "available": ["1.22.0"]});
    bench.control(Method::PUT, "/updates", change).await;
    assert_eq!(bench.host.state.lock().updater.ending, Ending::Exit(1, "no network".into()));
    bench.client.act(UpdateAction::Refresh).await.unwrap();
    let command = bench.client.updates_status().await.unwrap().most_recent_command.unwrap();
    assert_eq!((command.cmd_type, command.cmd_status), (CommandKind::Refresh, CommandOutcome::Failed));
    bench.control(Method::PUT, "/updates", json!({"ending": "well", "takes_ms": 0, "foreign_lock": "none"})).await;
    bench.client.act(UpdateAction::Refresh).await.unwrap();
    assert_eq!(bench.client.updates_status().await.unwrap().chosen_update.unwrap().version, "1.22.0");
}

#[tokio::test]
async fn a_reboot_that_is_refused() {
    let script = |dir: &Path, name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let dir = tempfile::tempdir().unwrap();
    let inhibited = script(dir.path(), "inhibited", "#!/bin/sh\necho 'Operation inhibited' >&2\nexit 1\n");
    let bench = bench_with(|options| options.reboot = Some(inhibited)).await;
    let text = "Failed to reboot, exit code: 1, stderr: Operation inhibited\n";
    assert_eq!(bench.ask(Method::POST, "/actions/reboot").await, raw(500, None, text));
    bench.host.state.lock().reboot = Some(dir.path().join("none"));
    let text = "Unable to start shutdown: No such file or directory (os error 2)";
    assert_eq!(bench.ask(Method::POST, "/actions/reboot").await, raw(500, None, text));
    assert!(!bench.dir.path().join("reboots").exists());
}

#[tokio::test]
async fn the_socket_comes_and_goes() {
    let bench = bench().await;
    let socket = bench.host.api.clone();
    // Killed, it leaves the file that there was; stopped, it takes it along.
    for (presence, file) in [("dead", true), ("away", false), ("dead", false), ("up", true), ("dead", true)] {
        bench.control(Method::PUT, "/presence", json!(presence)).await;
        assert_eq!(bench.client.os().await.is_ok(), presence == "up", "{presence}");
        assert_eq!(socket.exists(), file, "{presence}");
    }
    bench.control(Method::PUT, "/presence", json!("hung")).await;
    let hung = tokio::time::timeout(Duration::from_millis(200), bench.client.os()).await;
    assert!(hung.is_err(), "takes the connection, never answers");
    bench.control(Method::PUT, "/presence", json!("up")).await;
    assert!(bench.client.os().await.is_ok());
    bench.host.stop().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn faults_and_the_record_of_requests() {
    let bench = bench().await;
    let fault = json!([{"path": "/os", "status": 500, "text": "broken", "times": 1}]);
    bench.control(Method::PUT, "/faults", fault).await;
    assert!(bench.client.settings().await.is_ok(), "other paths are not met");
    assert_eq!(bench.ask(Method::GET, "/os").await, raw(500, None, "broken"));
    assert!(bench.client.os().await.is_ok(), "once only");
    let asked: Value = bench.control(Method::GET, "/requests", json!(null)).await.json().await.unwrap();
    let asked: Vec<_> = asked.as_array().unwrap().iter().map(|a| (a["uri"].as_str(), a["status"].as_u64())).collect();
    assert_eq!(asked, [(Some("/settings"), Some(200)), (Some("/os"), Some(500)), (Some("/os"), Some(200))]);
    bench.control(Method::DELETE, "/requests", json!(null)).await;
    assert!(bench.host.state.lock().asked.is_empty());

    let slow = Fault {
        server: Server::Api,
        path: String::new(),
        status: None,
        text: String::new(),
        delay_ms: 200,
        times: None,
    };
    bench.host.state.lock().faults = vec![slow];
    let started = std::time::Instant::now();
    assert!(bench.client.os().await.is_ok());
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn metadata_wants_a_token() {
    let bench = bench_with(|options| options.instance.address = [10, 0, 12, 34].into()).await;
    let base = format!("http://{}/latest", bench.host.imds);
    let http = reqwest::Client::new();
    assert_eq!(http.get(format!("{base}/meta-data/local-ipv4")).send().await.unwrap().status(), 401);
    let token = http.put(format!("{base}/api/token"));
    assert_eq!(token.try_clone().unwrap().send().await.unwrap().status(), 400, "without a lifetime");
    let long = token.try_clone().unwrap().header("X-aws-ec2-metadata-token-ttl-seconds", "21601");
    assert_eq!(long.send().await.unwrap().status(), 400);
    let answer = token.header("X-aws-ec2-metadata-token-ttl-seconds", "60").send().await.unwrap();
    let token = answer.text().await.unwrap();
    for (path, expected) in [
        ("local-ipv4", "10.0.12.34"),
        ("placement/availability-zone", "us-west-2a"),
        ("placement/region", "us-west-2"),
        ("instance-id", "i-0123456789abcdef0"),
        ("hostname", "simhost"),
    ] {
        let request = http.get(format!("{base}/meta-data/{path}")).header("X-aws-ec2-metadata-token", &token);
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), expected, "{path}");
    }
    let unknown = http.get(format!("{base}/meta-data/nosuch")).header("X-aws-ec2-metadata-token", &token);
    assert_eq!(unknown.send().await.unwrap().status(), 404);
    let forged = http.get(format!("{base}/meta-data/local-ipv4")).header("X-aws-ec2-metadata-token", "forged");
    assert_eq!(forged.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn introspection() {
    let bench = bench().await;
    let id = "a".repeat(64);
    let ports = json!([{"ContainerPort": 8080, "Protocol": "tcp", "HostPort": 8080}]);
    let container = json!({"DockerId": id, "DockerName": "ecs-x", "Name": "web", "Ports": ports});
    let task = json!({"Arn": "arn:aws:ecs:task/1", "Family": "orders", "Version": "3", "Containers": [container]});
    bench.control(Method::PUT, "/tasks", json!([task])).await;
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{}{path}", bench.host.ecs)).await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
    };
    let (_, metadata) = get("/v1/metadata").await;
    assert_eq!(metadata["Cluster"], "simulated");
    let (status, all) = get("/v1/tasks").await;
    assert_eq!((status, &all["Tasks"][0]["Containers"][0]["Ports"]), (200, &ports));
    for query in [format!("dockerid={id}"), format!("dockerid={}", &id[..12]), "taskarn=arn:aws:ecs:task/1".to_owned()]
    {
        assert_eq!(get(&format!("/v1/tasks?{query}")).await.1["Family"], "orders", "{query}");
    }
    assert_eq!(get(&format!("/v1/tasks?dockerid={id}&taskarn=x")).await.0, 400);
    assert_eq!(get("/v1/tasks?dockerid=aaa").await.0, 404);
    assert_eq!(get("/v1/tasks?taskarn=nosuch").await.0, 404);

    bench.host.state.lock().docker = Some(bench.dir.path().join("none"));
    assert_eq!(get("/v1/tasks").await.0, 500, "dockerd is away");
}

#[tokio::test]
async fn settings_given_go_over_the_built_in_ones() {
    let given = json!({"ecs": {"cluster": "prod"}, "dns": {"name-servers": ["10.0.0.2"]}});
    let bench = bench_with(|options| options.settings = given.as_object().unwrap().clone()).await;
    let settings = bench.client.settings().await.unwrap();
    let ecs = settings.ecs.unwrap();
    assert_eq!((ecs.cluster.as_deref(), ecs.allow_privileged_containers), (Some("prod"), Some(false)));
    assert_eq!(settings.dns.unwrap().name_servers.unwrap().len(), 1);
}
