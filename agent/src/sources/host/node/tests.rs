use std::net::Ipv4Addr;

use serde_json::json;

use super::*;

const GIVEN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
const IMDS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 12, 34));
const ROUTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));

fn auto() -> NodeSettings {
    NodeSettings { advertise: Auto::Auto, zone: Auto::Auto }
}

fn facts() -> NodeFacts {
    NodeFacts {
        host: HostFacts { hostname: Some("ip-10-0-12-34".into()), os_version: Some("1.20.5".into()), aws: true },
        instance: InstanceFacts { address: Some(IMDS), zone: Some("us-west-2a".into()) },
        kernel: KernelFacts { hostname: Some("kernel".into()), address: Some(ROUTE), hosts: Arc::default() },
    }
}

#[test]
fn the_hosts_own_names() {
    let text =
        "127.0.0.1 localhost localhost.localdomain\n# 10.0.0.1 comment\n\n::1 localhost ip6 # not.this\n10.0.0.9";
    assert_eq!(&names_of_hosts(text)[..], &["ip6".into(), "localhost".into(), "localhost.localdomain".into()]);
    let own = format!("127.0.0.1 own\n{HOSTS_BEGIN}\n240.240.0.7 orders\n{HOSTS_END}\n10.0.0.1 below\n");
    assert_eq!(&names_of_hosts(&own)[..], &["below".into(), "own".into()], "what the agent itself wrote");
    let many: String = (0..2 * MAX_HOSTS).map(|n| format!("10.0.0.1 n{n}\n")).collect();
    assert_eq!(names_of_hosts(&many).len(), MAX_HOSTS);
}

#[test]
fn everything_known() {
    let node = merge(&auto(), &facts()).unwrap();
    assert_eq!((&*node.name, node.address, node.zone.as_deref()), ("ip-10-0-12-34", IMDS, Some("us-west-2a")));
    assert_eq!(node.os_version.as_deref(), Some("1.20.5"));
}

#[test]
fn precedence_of_the_address() {
    let cases = [
        (Auto::Set(GIVEN), Some(IMDS), Some(ROUTE), Ok(GIVEN)),
        (Auto::Set(GIVEN), None, None, Ok(GIVEN)),
        (Auto::Auto, Some(IMDS), Some(ROUTE), Ok(IMDS)),
        (Auto::Auto, None, Some(ROUTE), Ok(ROUTE)),
        (Auto::Auto, None, None, Err(Unknown::Address)),
    ];
    for (advertise, instance, kernel, expected) in cases {
        let mut facts = facts();
        (facts.instance.address, facts.kernel.address) = (instance, kernel);
        let settings = NodeSettings { advertise, zone: Auto::Auto };
        assert_eq!(merge(&settings, &facts).map(|node| node.address), expected, "{settings:?} {facts:?}");
    }
}

#[test]
fn precedence_of_the_zone() {
    let zone = |text: &str| Some(Arc::<str>::from(text));
    let cases = [
        (Auto::Set(zone("mine")), zone("us-west-2a"), zone("mine")),
        (Auto::Set(None), zone("us-west-2a"), None),
        (Auto::Auto, zone("us-west-2a"), zone("us-west-2a")),
        (Auto::Auto, None, None),
    ];
    for (given, instance, expected) in cases {
        let mut facts = facts();
        facts.instance.zone = instance;
        let settings = NodeSettings { advertise: Auto::Auto, zone: given };
        assert_eq!(merge(&settings, &facts).unwrap().zone, expected, "{settings:?}");
    }
}

#[test]
fn without_the_host_api_the_kernel_names_the_node() {
    let facts = NodeFacts { host: HostFacts::default(), instance: InstanceFacts::default(), ..facts() };
    let node = merge(&auto(), &facts).unwrap();
    assert_eq!((&*node.name, node.address, node.zone, node.os_version), ("kernel", ROUTE, None, None));
    let nameless = NodeFacts { kernel: KernelFacts { hostname: None, ..facts.kernel }, ..facts };
    assert_eq!(merge(&auto(), &nameless), Err(Unknown::Name));
}

#[test]
fn facts_of_a_real_tree() {
    let settings = json!({
        "aws": {"region": "us-west-2"},
        "network": {"hostname": "ip-10-0-12-34.us-west-2.compute.internal"},
    });
    let os = json!({"variant_id": "aws-ecs-2", "version_id": "1.20.5"});
    let facts = HostFacts::new(serde_json::from_value(settings).unwrap(), serde_json::from_value(os).unwrap());
    let expected = HostFacts {
        hostname: Some("ip-10-0-12-34.us-west-2.compute.internal".into()),
        os_version: Some("1.20.5".into()),
        aws: true,
    };
    assert_eq!(facts, expected);
}

#[test]
fn aws_is_known_by_region_or_variant() {
    let cases = [
        (json!({"aws": {"region": "us-west-2"}}), json!({"variant_id": "metal-dev"}), true),
        (json!({}), json!({"variant_id": "aws-ecs-2"}), true),
        (json!({"aws": {"region": ""}}), json!({"variant_id": "metal-dev"}), false),
        (json!({}), json!({}), false),
    ];
    for (settings, os, aws) in cases {
        let facts = HostFacts::new(serde_json::from_value(settings).unwrap(), serde_json::from_value(os).unwrap());
        assert_eq!(facts.aws, aws, "{facts:?}");
    }
}
