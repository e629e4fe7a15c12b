//! Who reaches whom, and in which shares.

use anyhow::{Context, ensure};
use meshdog_tests::harness::{NODE, Run};
use meshdog_tests::testbox::dial::Calls;

use super::{Outcome, node, replicas};

/// All calls were answered, and each name gave the number of answers it should, within five standard deviations of a
/// fair draw: one run in a million fails by chance.
fn shares(calls: &Calls, expected: &[(&str, f64)]) -> Outcome {
    ensure!(calls.failed == 0, "{calls:?}");
    ensure!(calls.answers.len() == expected.len(), "{calls:?}");
    for (name, share) in expected {
        let answers = *calls.answers.get(*name).with_context(|| format!("{name} never answered: {calls:?}"))? as f64;
        let (mean, deviation) = (calls.ok as f64 * share, (calls.ok as f64 * share * (1.0 - share)).sqrt());
        ensure!((answers - mean).abs() <= 5.0 * deviation, "{name} should have about {mean}: {calls:?}");
    }
    Ok(())
}

#[test]
fn three_replicas_share_calls_by_name() -> Outcome {
    let node = node()?;
    let _servers = replicas(&node, "orders", 3, "")?;
    let third = 1.0 / 3.0;
    for name in ["orders", "Orders"] {
        let calls = node.dial(Run::default(), &format!("--target {name}:80 --count 1200 --concurrency 8"))?;
        shares(&calls, &[("orders-1", third), ("orders-2", third), ("orders-3", third)])?;
    }
    Ok(())
}

#[test]
fn a_service_without_an_alias_answers_to_its_qualified_name() -> Outcome {
    let node = node()?;
    let _server = node.serve("plain", Run::labels(&["meshdog.plain.port=8080"]), "--port 8080")?;
    node.agent.healthy("plain", 1)?;
    let calls = node.dial(Run::default(), "--target plain.prod:8080 --count 50")?;
    shares(&calls, &[("plain", 1.0)])
}

#[test]
fn weights_decide_the_shares() -> Outcome {
    let node = node()?;
    let labels = ["meshdog.pay.port=8080", "meshdog.pay.alias=pay:80"];
    let heavy = [labels[0], labels[1], "meshdog.pay.weight=3"];
    let _light = node.serve("light", Run::labels(&labels), "--port 8080")?;
    let _heavy = node.serve("heavy", Run::labels(&heavy), "--port 8080")?;
    node.agent.healthy("pay", 2)?;
    let calls = node.dial(Run::default(), "--target pay:80 --count 1200 --concurrency 8")?;
    shares(&calls, &[("light", 0.25), ("heavy", 0.75)])
}

#[test]
fn datagrams_are_shared_too() -> Outcome {
    let node = node()?;
    let labels = ["meshdog.clock.port=8080", "meshdog.clock.alias=clock:123", "meshdog.clock.protocol=udp"];
    let _a = node.serve("clock-1", Run::labels(&labels), "--udp --port 8080")?;
    let _b = node.serve("clock-2", Run::labels(&labels), "--udp --port 8080")?;
    node.agent.healthy("clock", 2)?;
    let calls = node.dial(Run::default(), "--udp --target clock:123 --count 600 --concurrency 8")?;
    shares(&calls, &[("clock-1", 0.5), ("clock-2", 0.5)])
}

#[test]
fn servers_see_their_clients_own_address() -> Outcome {
    let node = node()?;
    let _servers = replicas(&node, "audit", 1, "")?;
    let client = node.docker.run("caller", Run::default(), "dial --target audit:80 --count 10 --rate 10")?;
    let address = client.inspect("{{.NetworkSettings.IPAddress}}")?;
    let calls: Calls = client.finish()?;
    ensure!(calls.seen_as.keys().eq([&address]), "{address} should be seen: {calls:?}");
    Ok(())
}

#[test]
fn host_mode_serves_and_dials() -> Outcome {
    let node = node()?;
    let labels = ["meshdog.edge.port=9100", "meshdog.edge.alias=edge:80"];
    let _host = node.serve("edge-host", Run { labels: &labels, options: "--network host" }, "--port 9100")?;
    let _bridge = node.serve("edge-bridge", Run::labels(&labels), "--port 9100")?;
    let edge = node.agent.healthy("edge", 2)?;
    ensure!(edge.endpoints.iter().any(|endpoint| endpoint.address == format!("{NODE}:9100")), "{edge:?}");

    let vip = edge.vip.context("edge has no VIP")?;
    let both = [("edge-host", 0.5), ("edge-bridge", 0.5)];
    let args = format!("--target {vip}:80 --count 600 --concurrency 8");
    shares(&node.dial(Run::default(), "--target edge:80 --count 600 --concurrency 8")?, &both)?;
    shares(&node.dial(Run::options("--network host"), &args)?, &both)?;
    shares(&node.dial_from_node(&args)?, &both)
}

#[test]
fn containers_reach_themselves_and_neighbours_with_and_without_br_netfilter() -> Outcome {
    let node = node()?;
    let servers = replicas(&node, "mirror", 1, "")?;
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let before = std::fs::read_to_string(switch)?;
    let reached = (|| {
        for setting in ["0", "1"] {
            std::fs::write(switch, setting)?;
            let itself: Calls =
                serde_json::from_str(&servers[0].exec("dial --target mirror:80 --count 50 --timeout 500")?)?;
            shares(&itself, &[("mirror-1", 1.0)]).with_context(|| format!("itself, br_netfilter {setting}"))?;
            let neighbour = node.dial(Run::default(), "--target mirror:80 --count 50 --timeout 500")?;
            shares(&neighbour, &[("mirror-1", 1.0)]).with_context(|| format!("neighbour, br_netfilter {setting}"))?;
        }
        Ok(())
    })();
    std::fs::write(switch, before)?;
    reached
}

#[test]
fn containers_of_a_user_defined_bridge_are_meshed_too() -> Outcome {
    let node = node()?;
    let _network = Network::create("second")?;
    let labels = ["meshdog.far.port=8080", "meshdog.far.alias=far:80"];
    // Not named `far`: Docker's own resolver, which all containers of such a network ask, would know that name.
    let _server = node.serve("far-1", Run { labels: &labels, options: "--network second" }, "--port 8080")?;
    node.agent.healthy("far", 1)?;
    let calls = node.dial(Run::options("--network second"), "--target far:80 --count 50")?;
    shares(&calls, &[("far-1", 1.0)])
}

/// A user-defined bridge network, removed when dropped.
pub(super) struct Network(&'static str);

impl Network {
    pub(super) fn create(name: &'static str) -> anyhow::Result<Self> {
        meshdog_tests::harness::output(std::process::Command::new("docker").args(["network", "create", name]))?;
        Ok(Self(name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["network", "rm", self.0]).output();
    }
}
