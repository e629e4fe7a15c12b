//! Containers' DNS with and without the agent: the same questions of the same servers, and the same answers.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use meshdog_tests::harness::{Container, Node, OUTSIDE, Run, Running, eventually};
use meshdog_tests::testbox::ask::{Outcome as Answered, Outcomes};

use super::reach::Network;
use super::{Outcome, node, replicas};

/// Name servers in the world outside. The host's resolv.conf names the first five, so that containers ask them by default.
const ANSWERS: &str = "10.77.0.250";
const SILENT: &str = "10.77.0.251";
const REFUSES: &str = "10.77.0.252";
/// Nobody has this address.
const ABSENT: &str = "10.77.0.249";
/// Not in resolv.conf.
const OTHER: &str = "10.77.0.253";

/// By how much the time of a failure may differ: what a busy machine takes.
const ABOUT_AS_LONG: Duration = Duration::from_millis(1200);

/// A group of questions: its name, the container that asks, and what.
struct Group<'a> {
    name: &'static str,
    container: &'a Container,
    args: String,
}

impl Group<'_> {
    fn ask(&self) -> anyhow::Result<Outcomes> {
        Ok(serde_json::from_str(&self.container.exec(&format!("ask {}", self.args))?)?)
    }
}

#[test]
fn answers_are_the_same_with_and_without_the_agent() -> Outcome {
    let mut node = node()?;
    let (_world, _servers) = Outside::new(&node)?;
    let _network = Network::create("asks")?;
    let _mesh = replicas(&node, "orders", 1, "")?;
    let default = node.serve("default", Run::default(), "--port 7777")?;
    let own = node.serve("own", Run::options(&format!("--dns {OTHER}")), "--port 7777")?;
    let embedded = node.serve("embedded", Run::options("--network asks"), "--port 7777")?;
    let embedded_own =
        node.serve("embedded-own", Run::options(&format!("--network asks --dns {OTHER}")), "--port 7777")?;
    let container = format!("scripted --listen 0.0.0.0 --zone corp.test --forward {ANSWERS}:53");
    let named = node.docker.run("named", Run::default(), &container)?;
    let bridge = named.inspect("{{.NetworkSettings.IPAddress}}")?;

    let group = |name, container, args: String| Group { name, container, args };
    let few = "--domain zoo.test --only a --only soa";
    let groups = [
        group("default", &default, format!("--server {ANSWERS}:53 --domain zoo.test")),
        group("default, dead", &default, format!("--server {SILENT}:53 {few}")),
        group("default, refusing", &default, format!("--server {REFUSES}:53 {few}")),
        group("default, absent", &default, format!("--server {ABSENT}:53 {few} --timeout 4000")),
        group("asked by its address", &default, format!("--server {OTHER}:53 --domain zoo.test")),
        group("--dns", &own, format!("--server {OTHER}:53 --domain zoo.test")),
        group("--dns, asks the default", &own, format!("--server {ANSWERS}:53 --domain zoo.test")),
        group("--dns, asks a refusing one", &own, format!("--server {REFUSES}:53 {few}")),
        group("a container", &default, format!("--server {bridge}:53 --domain corp.test")),
        group("a container's upstream", &default, format!("--server {bridge}:53 --domain zoo.test --plain")),
        group("Docker's own", &embedded, "--server 127.0.0.11:53 --domain zoo.test --plain".to_owned()),
        group("Docker's own with --dns", &embedded_own, "--server 127.0.0.11:53 --domain zoo.test --plain".to_owned()),
    ];

    let with = {
        eventually(Duration::from_secs(15), "the capture", || {
            ensure!(node.agent.metric("meshdog_dns_up")? > 0.0);
            Ok(())
        })?;
        let before = node.agent.metric("meshdog_dns_queries_total{")?;
        let with = ask_all(&groups)?;
        let relayed = node.agent.metric("meshdog_dns_queries_total{")? - before;
        println!("{relayed} queries came to the agent");
        ensure!(relayed > 100.0, "only {relayed} queries came to the agent");
        with
    };
    ensure!(node.agent.terminate()?.success());
    let uninstalled = node.agent.command(&["uninstall"])?;
    ensure!(uninstalled.status.success(), "{uninstalled:?}");
    let without = ask_all(&groups);
    node.agent.restart()?;
    let without = without?;
    let refused =
        |outcomes: &[Outcomes]| outcomes.iter().flat_map(|group| group.values()).any(|it| it.end == "refused");
    ensure!(refused(&with) && refused(&without), "nobody refused: {without:?}");
    let mut differences = String::new();
    let (mut asked, mut answered) = (0, 0);
    for ((group, with), without) in groups.iter().zip(&with).zip(&without) {
        for (question, without) in without {
            asked += 1;
            answered += usize::from(without.end.is_empty());
            let with = with.get(question).with_context(|| question.clone())?;
            // How soon and by what a client learns that nobody answers ARP is the neighbour table's mood, also without meshdog.
            let given_up = |it: &Answered| {
                it.answers.is_empty() && ["closed", "unreachable", "timeout"].contains(&it.end.as_str())
            };
            let absent = group.name == "default, absent" && given_up(with) && given_up(without);
            if !absent && !same(with, without) {
                let _ =
                    writeln!(differences, "{}: {question}:\n    with    {with:?}\n    without {without:?}", group.name);
            }
        }
    }
    println!("{asked} questions, {answered} of them answered without the agent");
    ensure!(differences.is_empty(), "{differences}");
    Ok(())
}

/// Of all groups at once: most of the time is waiting.
fn ask_all(groups: &[Group<'_>]) -> anyhow::Result<Vec<Outcomes>> {
    thread::scope(|scope| {
        let asked: Vec<_> = groups.iter().map(|group| scope.spawn(|| group.ask())).collect();
        asked.into_iter().map(|asked| asked.join().map_err(|_| anyhow!("a group's thread ended"))?).collect()
    })
}

/// The same bytes under the right ids; or the same failure, about as soon.
fn same(with: &Answered, without: &Answered) -> bool {
    // A connection that was taken in the server's stead can only be closed again.
    let closed = with.end == "closed" && matches!(without.end.as_str(), "refused" | "unreachable");
    let about_as_long = u128::from(with.took_ms.abs_diff(without.took_ms)) <= ABOUT_AS_LONG.as_millis();
    with.answers == without.answers && with.ids == without.ids && (with.end == without.end || closed) && about_as_long
}

/// Servers outside, and their addresses in the host's resolv.conf; as it was before when dropped.
struct Outside {
    path: String,
    before: String,
}

impl Outside {
    fn new(node: &Node) -> anyhow::Result<(Self, [Running; 2])> {
        let world = std::env::var("MESHDOG_WORLD")?;
        for address in [ANSWERS, SILENT, REFUSES, OTHER] {
            let _ = Command::new("ip")
                .args(["-n", "outside", "address", "add", &format!("{address}/24"), "dev", "eth0"])
                .output()?;
        }
        let start = |log: &str, args: &str| {
            let mut command = Command::new("ip");
            command
                .args(["netns", "exec", "outside"])
                .arg(node.program("testbox"))
                .arg("scripted")
                .args(args.split(' '));
            Running::start(format!("{world}/{log}.log").as_ref(), &mut command)
        };
        let servers = [
            start("answers", &format!("--listen {ANSWERS} --listen {OTHER}"))?,
            start("silent", &format!("--silent --listen {SILENT}"))?,
        ];
        let path = format!("{world}/resolv.conf");
        let outside = Self { before: std::fs::read_to_string(&path)?, path };
        let listed = [ANSWERS, SILENT, REFUSES, ABSENT].map(|address| format!("nameserver {address}\n")).concat();
        std::fs::write(&outside.path, format!("nameserver {OUTSIDE}\n{listed}"))?;
        Ok((outside, servers))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.path, &self.before);
    }
}
