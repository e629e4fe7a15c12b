//! A host whose firewall is in the way: what it drops is found, named, and costs nobody a hang.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use meshdog_tests::harness::{Node, Run, eventually, output};
use meshdog_tests::testbox::dial::Calls;
use meshdog_tests::testbox::resolve::Asked;
use serde_json::Value;

use super::reach::Network;
use super::{Outcome, node, replicas};

/// As the benchmark for Bottlerocket of the Center for Internet Security has it: what is not accepted is dropped.
const HARDENED: [&str; 5] = [
    "-A INPUT -i lo -j ACCEPT",
    "-A INPUT -p tcp -m state --state ESTABLISHED -j ACCEPT",
    "-A INPUT -p udp -m state --state ESTABLISHED -j ACCEPT",
    "-A INPUT -p icmp -m state --state ESTABLISHED -j ACCEPT",
    "-P INPUT DROP",
];

/// By when the agent has tried again.
const SOON: Duration = Duration::from_secs(60);

/// The host's firewall, hardened until it is dropped.
struct Hardened;

impl Hardened {
    fn new() -> anyhow::Result<Self> {
        let hardened = Self;
        HARDENED.iter().try_for_each(|rule| iptables(rule))?;
        Ok(hardened)
    }
}

impl Drop for Hardened {
    fn drop(&mut self) {
        // The first error is what counts, and it is on its way.
        let _ = iptables("-P INPUT ACCEPT").and_then(|()| iptables("-F INPUT"));
    }
}

fn iptables(rule: &str) -> anyhow::Result<()> {
    output(Command::new("iptables").args(rule.split(' '))).map(drop)
}

fn status(node: &Node) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&node.agent.command(&["status", "--json"])?.stdout)?)
}

/// Waits until the agent says so of its resolver, and gives why.
fn dns(node: &Node, word: &str) -> anyhow::Result<String> {
    let said = eventually(SOON, &format!("dns is {word}"), || {
        let names = &status(node)?["names"];
        ensure!(names["dns"] == word, "{names}");
        Ok(names["why"].as_str().unwrap_or_default().to_owned())
    });
    Ok(said?.0)
}

/// What a container's queries come to.
fn asked(node: &Node, name: &str) -> anyhow::Result<Vec<Asked>> {
    node.docker.run("asker", Run::default(), &format!("resolve {name} --count 8"))?.finish()
}

#[test]
fn a_hardened_host_keeps_its_containers_dns_and_says_what_is_in_the_way() -> Outcome {
    let node = node()?;
    dns(&node, "answering")?;
    {
        let _hardened = Hardened::new()?;
        let why = dns(&node, "listening")?;
        ensure!(why.contains("docker0 (udp): dropped by the policy of chain INPUT in table ip filter"), "{why}");
        // What is missing here of a Bottlerocket host is not the matter.
        let doctor = node.agent.command(&["doctor"])?;
        let doctor = String::from_utf8([doctor.stdout, doctor.stderr].concat())?;
        ensure!(
            doctor.split_whitespace().collect::<Vec<_>>().join(" ").contains("chain INPUT in table ip filter"),
            "{doctor}"
        );
        // Public names as without the agent, and the mesh's by hosts files.
        eventually(SOON, "the lease is over", || {
            let asked = asked(&node, "www.outside.test")?;
            ensure!(asked.iter().all(|ask| ask.rcode == Some(0)), "{asked:?}");
            Ok(())
        })?;
        let asked = asked(&node, "www.outside.test")?;
        ensure!(asked.len() == 8 && asked.iter().all(|ask| ask.rcode == Some(0)), "{asked:?}");
        let servers = replicas(&node, "hard", 1, "")?;
        let server = servers.first().context("no server")?;
        let (calls, _) = eventually(SOON, "the name is in its own server's hosts file", || {
            let calls: Calls = serde_json::from_str(&server.exec("dial --target hard:80 --count 50")?)?;
            ensure!(calls.failed == 0, "{calls:?}");
            Ok(calls)
        })?;
        ensure!(calls.ok == 50, "{calls:?}");
        node.docker.remove_all()?;

        // What doctor advises helps, one transport at a time.
        iptables("-I INPUT -d 240.240.0.1 -p udp --dport 15053:15068 -j ACCEPT")?;
        let why = dns(&node, "answering in part")?;
        ensure!(why.contains("docker0 (tcp)") && !why.contains("docker0 (udp)"), "{why}");
        iptables("-I INPUT -d 240.240.0.1 -p tcp --dport 15053:15068 -j ACCEPT")?;
        ensure!(dns(&node, "answering")?.is_empty());
    }
    dns(&node, "answering").map(drop)
}

#[test]
fn a_service_on_another_network_refuses_at_once_and_says_why() -> Outcome {
    let node = node()?;
    let _network = Network::create("apart")?;
    let labels = ["meshdog.apart.port=8080", "meshdog.apart.alias=apart-svc:80"];
    let _server = node.serve("apart-1", Run { labels: &labels, options: "--network apart" }, "--port 8080")?;
    node.agent.healthy("apart", 1)?;
    let (road, took) = eventually(SOON, "the agent knows that there is no way", || {
        let roads = &status(&node)?["dataplane"]["closed_roads"];
        let from = roads.as_array().into_iter().flatten().find(|road| road["from"] == "docker0");
        from.cloned().with_context(|| format!("{roads}"))
    })?;
    println!("the road was found closed after {took:?}");
    let why = road["why"].as_str().unwrap_or_default();
    ensure!(why.contains("DOCKER-ISOLATION"), "{road}");
    // As many as the kernel's limit on ICMP messages lets through at once.
    let calls = node.dial(Run::default(), "--target apart-svc:80 --count 5")?;
    ensure!(calls.ok == 0 && calls.failures.get("refused") == Some(&5), "{calls:?}");
    let same = node.dial(Run::options("--network apart"), "--target apart-svc:80 --count 20")?;
    ensure!(same.failed == 0, "its own network: {same:?}");

    // What the operator lets through is let through.
    let bridge = road["to"].as_str().unwrap_or_default().to_owned();
    iptables(&format!("-I DOCKER-USER -i docker0 -o {bridge} -j ACCEPT"))?;
    iptables(&format!("-I DOCKER-USER -i {bridge} -o docker0 -j ACCEPT"))?;
    let opened = eventually(SOON, "the agent knows that there is a way", || {
        let roads = &status(&node)?["dataplane"]["closed_roads"];
        ensure!(roads.as_array().into_iter().flatten().all(|road| road["to"] != bridge.as_str()), "{roads}");
        Ok(())
    });
    let calls = node.dial(Run::default(), "--target apart-svc:80 --count 20");
    iptables("-F DOCKER-USER")?;
    iptables("-A DOCKER-USER -j RETURN")?;
    opened?;
    let calls = calls?;
    ensure!(calls.failed == 0, "{calls:?}");
    Ok(())
}
