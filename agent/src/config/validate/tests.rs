use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::update::{FleetLock, UpdateMode};
use crate::config::{Match, load, parse};
use crate::model::{AppProtocol, HealthCheck};

const EXAMPLE: &str = include_str!("../../../../packaging/meshdog.toml");

fn good(text: &str) -> Settings {
    parse(Path::new("f"), text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bad(text: &str) -> Vec<String> {
    let errors = parse(Path::new("f"), text).expect_err(text).to_string();
    errors.lines().map(str::to_owned).collect()
}

/// The one error of a text that lacks but its version, which the first line holds.
fn one(text: &str) -> String {
    let errors = bad(&format!("version = 1\n{text}"));
    assert_eq!(errors.len(), 1, "{text}: {errors:#?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn a_version_is_a_whole_configuration() {
    let settings = good("version = 1");
    assert_eq!(settings.node, NodeSettings { advertise: Auto::Auto, zone: Auto::Auto });
    assert_eq!(settings.mesh.namespace.as_str(), "default");
    let ranges = ["240.240.0.0/16", "fd6d:6573:6864::/108"].map(|range| range.parse().unwrap());
    assert_eq!(settings.mesh.vip_ranges.iter().collect::<Vec<_>>(), ranges);
    let dns = DnsSettings { hosts: true, capture: true, host: false, authoritative: false, upstream: Auto::Auto };
    assert_eq!(settings.dns, dns);
    assert_eq!(settings.telemetry.metrics, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(settings.update.mode, UpdateMode::Off);
    assert_eq!(settings.update.verify.deadline, Duration::from_secs(600));
    assert!(settings.update.open(jiff::Timestamp::UNIX_EPOCH), "no window: any time");
    assert_eq!(settings.update.next_open(jiff::Timestamp::UNIX_EPOCH), Some(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(settings.update.wave, Duration::ZERO);
    assert_eq!((&settings.update.fleet.lock, &settings.update.fleet.board), (&FleetLock::None, &None));
    assert_eq!(settings.paths.imds.as_str(), "http://169.254.169.254/");
    assert_eq!(settings.paths.docker_root, Auto::Auto);
    assert_eq!(settings.services, []);
}

#[test]
fn hosts_files_can_be_left_alone_and_found_elsewhere() {
    let settings = good("version = 1\n[dns]\nhosts = false\n[paths]\ndocker_root = \"/srv/docker\"");
    assert!(!settings.dns.hosts);
    assert_eq!(settings.paths.docker_root, Auto::Set("/srv/docker".into()));
    assert!(one("[paths]\ndocker_root = \"docker\"").contains("is not an absolute path"));
}

#[test]
fn of_several_windows_the_next_counts() {
    let update = good("version = 1\nupdate.window = [\"Sat 02:00-05:00 UTC\", \"Wed 22:00-24:00 UTC\"]").update;
    for (now, opens) in [
        ("2026-07-05T00:00:00Z", "2026-07-08T22:00:00Z"),
        ("2026-07-08T23:00:00Z", "2026-07-08T23:00:00Z"),
        ("2026-07-09T00:00:00Z", "2026-07-11T02:00:00Z"),
    ] {
        let [now, opens] = [now, opens].map(|instant| instant.parse().unwrap());
        assert_eq!((update.next_open(now), update.open(now)), (Some(opens), now == opens), "{now}");
    }
}

#[test]
fn the_packaged_example_says_what_it_says() {
    let settings = good(EXAMPLE);
    assert_eq!(settings.mesh.import, ["shared".parse().unwrap()]);
    let [orders, cache] = settings.services.as_slice() else { panic!("{:?}", settings.services) };
    assert_eq!(orders.alias, ["orders:80".parse().unwrap()]);
    assert_eq!(orders.health, Some(HealthCheck::Http("/healthz".into())));
    assert_eq!(orders.matches.family.as_ref().unwrap().to_string(), "orders-task");
    assert_eq!(cache.alias, ["cache.prod:6379".parse().unwrap()]);
    assert_eq!((cache.protocol, &cache.health), (AppProtocol::Tcp, &None));
    assert_eq!(cache.matches.labels.len(), 1);
    assert_eq!(settings.update.windows.len(), 1);
    assert!(!settings.update.open(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(settings.update.verify.tcp, ["127.0.0.1:5432".parse().unwrap()]);
    assert_eq!(
        settings.update.fleet.board, settings.etcd,
        "shared, whoever gives the lock and whatever the registry is"
    );
    assert_eq!(settings.etcd.unwrap().endpoints.len(), 3);

    // But for what only an example would set, it shows the defaults.
    let example = "[mesh]\nnamespace = \"prod\"\nimport = [\"shared\"]\n[registry.etcd]\nendpoints = \
                   [\"http://10.0.0.7:2379\", \"http://10.0.0.8:2379\", \"http://10.0.0.9:2379\"]";
    let defaults = good(&format!("version = 1\n{example}"));
    assert_eq!(
        (settings.update.delay, settings.update.wave, settings.update.drain, settings.update.max_rollbacks),
        (defaults.update.delay, defaults.update.wave, defaults.update.drain, defaults.update.max_rollbacks)
    );
    assert_eq!(
        (settings.node, settings.mesh, settings.dns, settings.telemetry, settings.paths, settings.update.fleet),
        (defaults.node, defaults.mesh, defaults.dns, defaults.telemetry, defaults.paths, defaults.update.fleet)
    );
}

/// An unknown key makes each table list the keys it knows.
#[test]
fn the_packaged_example_has_every_key() {
    fn visit(path: &str, shown: &[&toml::Table], known: &BTreeMap<String, Vec<String>>) {
        for key in &known[path] {
            let values: Vec<&toml::Value> = shown.iter().filter_map(|table| table.get(key)).collect();
            assert!(!values.is_empty(), "`{key}` of {path:?} is not in the example");
            let tables = values.into_iter().flat_map(|value| match value {
                toml::Value::Array(items) => items.iter().filter_map(toml::Value::as_table).collect(),
                other => Vec::from_iter(other.as_table()),
            });
            let tables: Vec<&toml::Table> = tables.collect();
            if !tables.is_empty() && key != "labels" {
                visit(&format!("{path}.{key}"), &tables, known);
            }
        }
    }
    let tables = ["node", "mesh", "registry", "registry.etcd", "dns", "update", "update.verify", "update.fleet"];
    let tables = tables.into_iter().chain(["telemetry", "paths", "service.match"]);
    let headers: String = tables.map(|table| format!("[{table}]\n\"#\" = 1\n")).collect();
    let errors = bad(&format!("version = 1\n\"#\" = 1\n[[service]]\n\"#\" = 1\n{headers}"));
    let known: BTreeMap<String, Vec<String>> = errors
        .iter()
        .filter_map(|error| {
            let (place, keys) = error.split_once("unknown key `#` in ")?.1.split_once("; known keys are ")?;
            let place = place.trim_matches(['[', ']']);
            let place = if place == "the top level" { String::new() } else { format!(".{place}") };
            Some((place, keys.split(", ").map(str::to_owned).collect()))
        })
        .collect();
    assert_eq!(known.len(), 13, "{errors:#?}");
    visit("", &[&EXAMPLE.parse().unwrap()], &known);
}

#[test]
fn all_errors_at_once_in_the_order_of_the_file() {
    let text = r#"
vesion = 1
[mesh]
nmaespace = "prod"
vip_cidr = "127.0.0.0/8"
backend = "iptables"
[[service]]
name = "Orders"
match = {}
port = 0
[telemetry]
metrics = "0.0.0.0:9464"
verbosity = 3
[update.verify]
min_healthy = 1.5
"#;
    insta::assert_snapshot!(parse(Path::new("/etc/meshdog.toml"), text).unwrap_err(), @r#"
    /etc/meshdog.toml:1:1: `version` is missing from the top level; begin the file with version = 1
    /etc/meshdog.toml:2:1: unknown key `vesion` in the top level; did you mean `version`?
    /etc/meshdog.toml:4:1: unknown key `nmaespace` in [mesh]; did you mean `namespace`?
    /etc/meshdog.toml:5:12: `vip_cidr` in [mesh]: 127.0.0.0/8 cannot leave a container (loopback, link-local, multicast or reserved); take for instance 240.240.0.0/16
    /etc/meshdog.toml:6:11: `backend` in [mesh]: "iptables" is not part of this version; write "auto" or "nftables"
    /etc/meshdog.toml:8:8: `name` in [[service]]: discovery name contains 'O'; use lowercase letters, digits, '_' and '-'
    /etc/meshdog.toml:9:9: `match` in [[service]]: would match every container; name a family, container, image or labels
    /etc/meshdog.toml:10:8: `port` in [[service]]: 0 is out of range; write a number from 1 to 65535
    /etc/meshdog.toml:12:11: `metrics` in [telemetry]: 0.0.0.0:9464 is not a loopback address and strangers could reach it; write 127.0.0.1:9464
    /etc/meshdog.toml:13:1: unknown key `verbosity` in [telemetry]; known keys are metrics, log
    /etc/meshdog.toml:15:15: `min_healthy` in [update.verify]: 1.5 is out of range; write a number from 0.0 to 1.0
    "#);
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        bad("\u{feff}version = 1\nmesh = { namespace = \"é→\", xx = 1 }"),
        [
            "f:2:22: `namespace` in [mesh]: namespace contains 'é'; use lowercase letters, digits, '_', '-' and '.'",
            "f:2:28: unknown key `xx` in [mesh]; known keys are namespace, import, vip_cidr, vip_cidr6, backend, locality, \
             image_labels, alias_allow",
        ]
    );
    assert!(bad("version = 1\r\n\r\n\"ключ\" = \"x\"\r\n")[0].starts_with("f:3:1: unknown key `ключ`"));
}

#[test]
fn the_nearest_key_is_named() {
    for (key, table, nearest) in [
        ("nmaespace", "mesh", "namespace"),
        ("vip-cidr", "mesh", "vip_cidr"),
        ("Import", "mesh", "import"),
        ("aliases", "[service]", "alias"),
        ("healthcheck", "[service]", "health"),
        ("max_rollback", "update", "max_rollbacks"),
        ("windows", "update", "window"),
        ("urls", "update.fleet", "url"),
        ("metric", "telemetry", "metrics"),
    ] {
        let errors = bad(&format!("version = 1\n[{table}]\n{key} = 1"));
        let expected = format!("unknown key `{key}` in [{table}]; did you mean `{nearest}`?");
        assert!(errors.iter().any(|error| error == &format!("f:3:1: {expected}")), "{errors:#?}");
    }
    assert_eq!(one("[mash]\n"), "f:2:2: unknown key `mash` in the top level; did you mean `mesh`?");
    assert!(one("zzz = 1").contains("; known keys are version, mesh, registry,"));
}

#[test]
fn wrong_values() {
    for (text, error) in [
        // Wrong types.
        ("mesh = 1", "2:8: `mesh` in the top level: found an integer; write a table, [mesh]"),
        ("[[mesh]]", "2:1: `mesh` in the top level: found a list; write a table, [mesh]"),
        ("dns.capture = \"yes\"", "2:15: `capture` in [dns]: found a string; write true or false"),
        ("mesh.namespace = 1", "2:18: `namespace` in [mesh]: found an integer; write text in double quotes"),
        ("mesh.import = \"a\"", "2:15: `import` in [mesh]: found a string; write a list, as in [\"a\", \"b\"]"),
        ("mesh.import = [\"a\",\n 1]", "3:2: `import` in [mesh]: found an integer; write text in double quotes"),
        ("update.delay = 2020-01-01", "2:16: `delay` in [update]: found a date or time; write text in double quotes"),
        // Names.
        ("mesh.namespace = \"\"", "2:18: `namespace` in [mesh]: namespace is empty; write 1 to 127 characters"),
        ("mesh.import = [\"a\", \"a\"]", "2:21: `import` in [mesh]: is listed twice; keep one"),
        (
            "mesh.namespace = \"a\"\nmesh.import = [\"b\", \"a\"]",
            "3:21: `import` in [mesh]: is this node's own namespace, which needs no import; remove it",
        ),
        // Addresses and ranges.
        ("mesh.vip_cidr = \"240.240.0.0\"", "2:17: `vip_cidr` in [mesh]: \"240.240.0.0\" is not an IPv4 range; write"),
        ("mesh.vip_cidr = \"127.1.0.0/16\"", "2:17: `vip_cidr` in [mesh]: 127.1.0.0/16 cannot leave a container"),
        (
            "mesh.vip_cidr = \"10.0.0.0/30\"",
            "2:17: `vip_cidr` in [mesh]: 10.0.0.0/30 is not usable as a VIP range; take",
        ),
        ("mesh.vip_cidr6 = \"fd00::\"", "2:18: `vip_cidr6` in [mesh]: \"fd00::\" is not an IPv6 range; write"),
        ("mesh.vip_cidr6 = \"fe80::/64\"", "2:18: `vip_cidr6` in [mesh]: fe80::/64 cannot leave a container"),
        ("mesh.vip_cidr6 = \"fd00::/8\"", "2:18: `vip_cidr6` in [mesh]: fd00::/8 is not usable as a VIP range; take"),
        ("node.advertise = \"0.0.0.0\"", "2:18: `advertise` in [node]: \"0.0.0.0\" is not this node's IPv4 address;"),
        ("node.advertise = \"::1\"", "2:18: `advertise` in [node]: \"::1\" is not this node's IPv4 address; write"),
        ("node.advertise = \"240.240.4.4\"", "2:18: `advertise` in [node]: 240.240.4.4 lies within the VIP range"),
        ("node.zone = \"a b\"", "2:13: `zone` in [node]: \"a b\" is not a zone; write"),
        ("dns.upstream = \"atuo\"", "2:16: `upstream` in [dns]: \"atuo\" is unknown; write \"auto\" or a list such as"),
        ("dns.host = 1", "2:12: `host` in [dns]: found"),
        ("dns.authoritative = 1", "2:21: `authoritative` in [dns]: found"),
        (
            "dns = { host = true, upstream = [\"127.0.0.1\"] }",
            "2:34: `upstream` in [dns]: 127.0.0.1:53 is of this host",
        ),
        ("dns.upstream = []", "2:16: `upstream` in [dns]: is empty; write at least one, or leave the key out"),
        ("dns.upstream = [\"10.0.0.2:0\"]", "2:17: `upstream` in [dns]: \"10.0.0.2:0\" is not a name server; write"),
        ("dns.upstream = [\"240.240.0.1\"]", "2:17: `upstream` in [dns]: 240.240.0.1:53 lies within the VIP range"),
        (
            "telemetry.metrics = \"10.0.0.1:9464\"",
            "2:21: `metrics` in [telemetry]: 10.0.0.1:9464 is not a loopback address and strangers could reach it; write",
        ),
        ("telemetry.metrics = \"[::]:1\"", "2:21: `metrics` in [telemetry]: [::]:1 is not a loopback address and"),
        ("telemetry.metrics = \"localhost\"", "2:21: `metrics` in [telemetry]: \"localhost\" is not a listener; write"),
        ("telemetry.metrics = \"127.0.0.1:0\"", "2:21: `metrics` in [telemetry]: 127.0.0.1:0 has no port; write"),
        ("telemetry.log = \"loud\"", "2:17: `log` in [telemetry]: \"loud\" is not a log filter; write off, error,"),
        (
            "telemetry.log = \"info,dns=loud\"",
            "2:17: `log` in [telemetry]: \"info,dns=loud\" is not a log filter; write",
        ),
        // Words of the language, of this version and of later ones.
        ("mesh.backend = \"iptables\"", "2:16: `backend` in [mesh]: \"iptables\" is not part of this version; write"),
        ("mesh.backend = \"ipvs\"", "2:16: `backend` in [mesh]: \"ipvs\" is unknown; write \"auto\" or \"nftables\""),
        (
            "mesh.alias_allow = [\"*\"]",
            "2:21: `alias_allow` in [mesh]: would let every label claim every name; write the domains that tasks may \
             claim names of",
        ),
        ("mesh.locality = \"\"", "2:17: `locality` in [mesh]: \"\" is unknown; write \"prefer-zone\" or \"none\""),
        (
            "registry.kind = \"etcd\"",
            "2:17: `kind` in [registry]: \"etcd\" is not part of this version; write \"local\"",
        ),
        (
            "registry.kind = \"cloud-map\"",
            "2:17: `kind` in [registry]: \"cloud-map\" is not part of this version; write",
        ),
        ("registry.kind = \"consul\"", "2:17: `kind` in [registry]: \"consul\" is unknown; write \"local\""),
        ("[registry.etcd]", "2:1: `endpoints` is missing from [registry.etcd]; write the members' addresses"),
        // Updates.
        (
            "update.mode = \"on\"",
            "2:15: `mode` in [update]: \"on\" is unknown; write \"off\" or \"check\" or \"automatic\"",
        ),
        ("update.window = [\"Sat\"]", "2:18: `window` in [update]: \"Sat\" is not a window; write DAY FROM-TO ZONE"),
        ("update.delay = \"1 day\"", "2:16: `delay` in [update]: \"1 day\" is not a duration; write for instance 24h"),
        ("update.delay = \"-5m\"", "2:16: `delay` in [update]: \"-5m\" is not a duration; write for instance 24h"),
        ("update.delay = \"\"", "2:16: `delay` in [update]: \"\" is not a duration; write for instance 24h"),
        ("update.wave = \"721h\"", "2:15: `wave` in [update]: 721h is out of range; write 0s to 720h"),
        (
            "update.refuse = [\"1.21\"]",
            "2:18: `refuse` in [update]: \"1.21\" is not a version; write three numbers, such as 1.21.1",
        ),
        ("update.drain = \"25h\"", "2:16: `drain` in [update]: 25h is out of range; write 0s to 24h"),
        (
            "update.max_rollbacks = -1",
            "2:24: `max_rollbacks` in [update]: -1 is out of range; write a number from 0 to 100",
        ),
        (
            "update.max_rollbacks = 99999999999999999999",
            "2:24: `max_rollbacks` in [update]: 99999999999999999999 is out of range; write a number from 0 to 100",
        ),
        ("update.verify.min_healthy = nan", "2:29: `min_healthy` in [update.verify]: nan is out of range; write"),
        ("update.verify.min_healthy = 2", "2:29: `min_healthy` in [update.verify]: 2 is out of range; write a number"),
        ("update.verify.settle = \"10m\"", "2:24: `settle` in [update.verify]: no check could settle"),
        ("update.verify.deadline = \"90s\"", "2:26: `deadline` in [update.verify]: no check could settle"),
        ("update.verify.http = [\"127.0.0.1\"]", "2:23: `http` in [update.verify]: \"127.0.0.1\" is not a URL"),
        ("update.verify.tcp = [\"db:5432\"]", "2:22: `tcp` in [update.verify]: \"db:5432\" takes no connection; write"),
        (
            "update.verify.tcp = [\"127.0.0.1:0\"]",
            "2:22: `tcp` in [update.verify]: \"127.0.0.1:0\" takes no connection; write ADDRESS:PORT, such as",
        ),
        ("update.verify.tcp = [\"[::]:80\"]", "2:22: `tcp` in [update.verify]: \"[::]:80\" takes no connection; write"),
        ("update.verify.services = [\"a.b\"]", "2:27: `services` in [update.verify]: discovery name contains '.'; use"),
        ("update.fleet.lock = \"fleetlock\"", "2:8: `url` is missing from [update.fleet]; write the lock server's"),
        ("update.fleet.lock = \"etcd\"", "2:21: `lock` in [update.fleet]: etcd has no endpoints; write them as"),
        ("update.fleet.group = \"a/b\"", "2:22: `group` in [update.fleet]: \"a/b\" is not a group; write 1 to 64"),
        ("update.fleet.breaker = 25", "2:24: `breaker` in [update.fleet]: 25 is out of range; write a number from 0.0"),
        ("update.fleet.max_at_once = 0", "2:28: `max_at_once` in [update.fleet]: 0 is out of range; write a number"),
        // Paths and URLs.
        ("paths.boot_id = \"boot\"", "2:17: `boot_id` in [paths]: \"boot\" is not an absolute path; begin with"),
        ("paths.state_dir = \"state\"", "2:19: `state_dir` in [paths]: \"state\" is not an absolute path; begin with"),
        (
            "paths.state_dir = \"/a\\u0000\"",
            "2:19: `state_dir` in [paths]: \"/a\\0\" is not an absolute path; begin with",
        ),
        ("paths.imds = \"file:///etc\"", "2:14: `imds` in [paths]: \"file:///etc\" is not an HTTP address; write"),
        ("paths.imds = \"http://h:99999\"", "2:14: `imds` in [paths]: \"http://h:99999\" is not a URL (invalid port"),
        ("paths.imds = \"http://u:p@h\"", "2:14: `imds` in [paths]: carries a user name or password"),
        ("paths.imds = \"https://u:p@h\"", "2:14: `imds` in [paths]: carries a user name or password"),
        (
            "update.verify.http = [\"http://127.0.0.1\", \"https://127.0.0.1:8443/healthz\"]",
            "2:43: `http` in [update.verify]: \"https://127.0.0.1:8443/healthz\" needs TLS, which meshdog does not \
             speak; write http://HOST:PORT, such as http://127.0.0.1:8080",
        ),
        (
            "update.fleet = { lock = \"fleetlock\", url = \"https://lock.test\" }",
            "2:44: `url` in [update.fleet]: \"https://lock.test\" needs TLS, which meshdog does not speak; write",
        ),
        (
            "registry.etcd.endpoints = [\"http://10.0.0.7:2379\", \"HTTPS://10.0.0.8:2379\"]",
            "2:52: `endpoints` in [registry.etcd]: \"HTTPS://10.0.0.8:2379\" needs TLS, which meshdog does not speak;",
        ),
    ] {
        let found = one(text);
        assert!(found.starts_with(&format!("f:{error}")) && found.contains("; "), "{text}\n{found}");
    }
    let long = format!("paths.api_socket = \"/{}\"", "a".repeat(107));
    assert!(one(&long).contains("has 108 bytes; a Unix socket's path takes at most 107"));
    let longer = format!("telemetry.log = \"{}\"", "a".repeat(5000));
    assert!(one(&longer).contains("has 5000 bytes; at most 4096 are allowed"));
}

#[test]
fn wrong_versions() {
    assert_eq!(bad(""), ["f:1:1: `version` is missing from the top level; begin the file with version = 1"]);
    assert_eq!(bad("# nothing\n\n").len(), 1);
    assert!(
        bad("version = 2")[0].starts_with("f:1:11: `version` in the top level: this meshdog does not know version 2;")
    );
    assert!(bad("version = \"1\"")[0].contains("found a string; write a number"));
    assert!(bad("version = 0x1_0")[0].contains("does not know version 16"));
    good("version = 0b1");
}

fn service(text: &str) -> String {
    format!("[[service]]\nname = \"a\"\nmatch = {{ container = \"a\" }}\nport = 80\n{text}\n")
}

#[test]
fn wrong_services() {
    for (text, error) in [
        ("service = 1", "2:11: `service` in the top level: found an integer; write it as [[service]]"),
        ("[service]\nname = \"a\"", "2:1: `service` in the top level: found a table; write it as [[service]]"),
        ("service = [1]", "2:12: `service` in the top level: found an integer; write a table, [[service]]"),
        (&service("alias = []"), "6:9: `alias` in [[service]]: is empty; write at least one, or leave the key out"),
        (
            &service("alias = [\"b:1\", \"b\"]"),
            "6:17: `alias` in [[service]]: alias \"b\" has no port; write name:port",
        ),
        (&service("alias = [\"b:1\", \"b:1\"]"), "6:17: `alias` in [[service]]: is listed twice; keep one"),
        (&service("protocol = \"sctp\""), "6:12: `protocol` in [[service]]: protocol \"sctp\" is unknown; use tcp,"),
        (
            &service("health = \"http:x\""),
            "6:10: `health` in [[service]]: health check \"http:x\" is unknown; use none,",
        ),
        (
            &service("").replace("80", "65536"),
            "5:8: `port` in [[service]]: 65536 is out of range; write a number from 1",
        ),
        (
            &service("").replace("80", "0"),
            "5:8: `port` in [[service]]: 0 is out of range; write a number from 1 to 65535",
        ),
        (&service("").replace("80", "\"80\""), "5:8: `port` in [[service]]: found a string; write a number from 1 to"),
        (&service("").replace("port", "# port"), "2:1: `port` is missing from [[service]]; write the container's port"),
        (&service("").replace("match", "# match"), "2:1: `match` is missing from [[service]]; say which containers"),
        (
            &service("").replace("container", "pod"),
            "4:11: unknown key `pod` in [service.match]; known keys are family,",
        ),
        (
            &service("").replace(" container = \"a\" ", ""),
            "4:9: `match` in [[service]]: would match every container; name",
        ),
        (
            &service("").replace("container = \"a\"", "container = \"*\", image = \"**\""),
            "4:9: `match` in [[service]]: would",
        ),
        (
            &service("").replace("container = \"a\"", "image = \"\""),
            "4:19: `image` in [service.match]: is empty; write a",
        ),
        (
            &service("").replace("container = \"a\"", "labels = 1"),
            "4:20: `labels` in [service.match]: found an integer;",
        ),
        (
            &service("").replace("container = \"a\"", "labels = { a = 1 }"),
            "4:26: `labels` in [service.match]: found an",
        ),
        (
            &(service("") + &service("").replace("80", "81") + &service("")),
            "14:9: `match` in [[service]]: an earlier [[service]] \"a\" on port 80 matches the same; remove one",
        ),
        (
            &(service("alias = [\"x:1\", \"y:1\"]")
                + &service("alias = [\"z:1\", \"y:1\"]").replace("\"a\"\nmatch", "\"b\"\nmatch")),
            "11:17: `alias` in [[service]]: y:1 is an alias of service \"a\" already; choose another",
        ),
        (
            &(service("alias = [\"b.default:80\"]") + &service("").replace("\"a\"\nmatch", "\"b\"\nmatch")),
            "8:8: `name` in [[service]]: b.default:80 is an alias of service \"a\" already; choose another",
        ),
    ] {
        let found = one(text);
        assert!(found.starts_with(&format!("f:{error}")), "{text}\n{found}");
    }
    let label = "n".repeat(60);
    let found =
        one(&format!("mesh.namespace = \"{label}.{label}\"\n{}", service("").replace("\"a\"\n", "\"abcdefgh\"\n")));
    assert!(found.contains("`name` in [[service]]: with namespace") && found.contains("at most 127"), "{found}");
    let many = "[[service]]\n".repeat(16_385);
    assert_eq!(one(&many), "f:2:1: `service` in the top level: has 16385 entries; at most 16384 are allowed");
}

#[test]
fn one_service_may_have_several_rules() {
    let text =
        service("").replace("container = \"a\"", "image = \"b\"") + &service("protocol = \"udp\"").replace("80", "81");
    let settings = good(&format!("version = 1\n{}{text}", service("")));
    assert_eq!(settings.services.len(), 3);
    let any_task = service("").replace("container = \"a\"", "family = \"*\", container = \"*\"");
    assert_ne!(good(&format!("version = 1\n{any_task}")).services[0].matches, Match::default());
}

#[test]
fn what_is_not_toml_is_told_beside_the_rest() {
    assert_eq!(
        bad("version = 1\n[mesh]\nnamespace = prod\nimport = [\"A\"]\n[dns]\ncapture = tru\nx = \"\n[mesh]\n"),
        [
            "f:3:13: not TOML: text without quotes; put it in double quotes",
            "f:4:11: `import` in [mesh]: namespace contains 'A'; use lowercase letters, digits, '_', '-' and '.'",
            "f:6:11: not TOML: invalid boolean; expected `true`",
            "f:7:6: not TOML: invalid basic string; expected `\"`",
            "f:8:2: `mesh` is given a second time; keep one",
        ]
    );
    assert_eq!(
        bad("version = 1\nversion = 2\nfoo = 1\n"),
        [
            "f:2:1: `version` is given a second time; keep one",
            "f:3:1: unknown key `foo` in the top level; known keys are version, mesh, registry, node, dns, service, \
             update, telemetry, paths",
        ]
    );
    // What could not be read is not told missing.
    assert_eq!(bad("version\n"), ["f:1:8: not TOML: key with no value; expected `=`"]);
    assert_eq!(bad("version = 01").len(), 1);
    assert!(bad("[").len() == 1 && bad("\0").len() == 1 && bad("a = \"\"\"").len() == 1);
}

#[test]
fn messages_stay_on_one_line_and_short() {
    let key = "\\n\\u001b".repeat(500);
    let errors =
        bad(&format!("version = 1\n\"{key}\" = 1\nmesh.namespace = \"\\n\"\nmesh.backend = \"{key}\"\n\"{key}\" = 2"));
    assert_eq!(errors.len(), 4);
    assert!(errors.iter().all(|error| error.starts_with("f:") && error.len() < 800), "{errors:#?}");
    assert!(!errors.concat().contains(char::is_control));
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    let told = || load(&file).unwrap_err().to_string().replace(dir.path().to_str().unwrap(), "");
    assert!(told().starts_with("/c.toml:1:1: cannot be read: No such file"), "{}", told());
    std::fs::write(&file, b"version = 1\n# \xc3\xa9 \xff\n").unwrap();
    assert_eq!(told(), "/c.toml:2:5: is not UTF-8 from here on; save the file as UTF-8");
    std::fs::write(&file, "#".repeat(MAX_BYTES + 1)).unwrap();
    assert_eq!(told(), "/c.toml:1:1: is larger than 1048576 bytes; a configuration is at most that");
    std::fs::write(&file, format!("version = 1\n{}", "#".repeat(MAX_BYTES - 12))).unwrap();
    assert!(load(&file).is_ok());
    let directory = load(dir.path()).unwrap_err().to_string();
    assert!(directory.contains(":1:1: cannot be read: Is a directory"), "{directory}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\PC|\n|\\[|\\]|=|\"|\\.|#){0,200}") {
        let _ = parse(Path::new("f"), &text);
    }

    /// Whatever is cut out of, or put into, the example: there are settings, or errors with places in the text.
    #[test]
    fn no_mutation_panics(
        at in 0..EXAMPLE.len(), cut in 0..80_usize, put in "[\\[\\]{}=\"'.,#a-z0-9\n é\\-]{0,6}",
    ) {
        let mut text = EXAMPLE.to_owned();
        text.replace_range(at..(at + cut).min(EXAMPLE.len()), &put);
        if let Err(errors) = parse(Path::new("f"), &text) {
            prop_assert!(!errors.list().is_empty());
            for error in errors.list() {
                let line = text.split('\n').nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{error:?}");
                prop_assert!(!error.message.contains('\n'));
            }
        }
    }
}
