//! Agent and dockerd are killed in a loop and tasks replaced under new connections, none of which may fail: servers go on
//! accepting for 100 ms after their stop signal, which is what is asked of programs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use meshdog_tests::harness::{Container, Node, Run, eventually, given};
use meshdog_tests::testbox::dial::Calls;

use super::{Outcome, node};

/// How servers may tell that they are well.
const SERVICES: [(&str, &str); 4] = [("none", ""), ("tcp", "tcp"), ("http", "http:/healthz"), ("docker", "")];
/// Servers of each service, between two changes.
const REPLICAS: usize = 2;
/// The image with a health check of Docker's.
const CHECKED: &str = "checked";
const CHECK: &str = "HEALTHCHECK --interval=1s --timeout=2s --retries=3 CMD \
                     [\"/program\", \"dial\", \"--target\", \"127.0.0.1:8080\", \"--count\", \"1\", \"--strict\"]";
/// Clients of each service; one address has not enough ports for what they do.
const CLIENTS: usize = 2;

/// What is killed at a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    Nothing,
    /// Before the new server starts, which then meets a young agent.
    AgentFirst,
    /// As soon as the new server has started.
    AgentAmid,
    Dockerd,
    /// The agent starts while dockerd is away.
    Both,
}

const TURNS: [Killed; 8] = [
    Killed::AgentFirst,
    Killed::AgentAmid,
    Killed::Dockerd,
    Killed::AgentAmid,
    Killed::Nothing,
    Killed::Both,
    Killed::AgentFirst,
    Killed::Dockerd,
];

/// A service and its servers, the oldest first.
struct Fleet {
    name: &'static str,
    health: &'static str,
    servers: Vec<Container>,
    born: usize,
}

impl Fleet {
    fn start(&mut self, node: &Node) -> Outcome {
        let (name, health) = (self.name, self.health);
        self.born += 1;
        let mut labels =
            vec![format!("meshdog.{name}.port=8080"), format!("meshdog.{name}.alias={name}:80,{name}.prod:80")];
        if !health.is_empty() {
            labels.push(format!("meshdog.{name}.health={health}"));
        }
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let image = if name == "docker" { CHECKED } else { "testbox" };
        let server = format!("{name}-{}", self.born);
        let args = format!("serve --name {server} --port 8080 --linger 100 --sick-while /never");
        self.servers.push(node.docker.run_image(image, &server, Run::labels(&labels), &args)?);
        Ok(())
    }

    fn healthy(&self, node: &Node) -> Outcome {
        node.agent.healthy(self.name, self.servers.len()).map(drop)
    }

    fn stop_oldest(&mut self, node: &Node) -> Outcome {
        self.servers.remove(0).stop()?;
        self.healthy(node)
    }
}

#[test]
fn no_connect_fails_while_agent_and_dockerd_are_killed() -> Outcome {
    let (seconds, rate) = (given("MESHDOG_CHURN_SECONDS", 120)?, given("MESHDOG_CHURN_RATE", 1500)?);
    let mut node = node()?;
    node.docker.derive_image(CHECKED, "testbox", CHECK)?;
    let mut fleets = SERVICES.map(|(name, health)| Fleet { name, health, servers: Vec::new(), born: 0 });
    for fleet in &mut fleets {
        (0..REPLICAS).try_for_each(|_| fleet.start(&node))?;
    }
    fleets.iter().try_for_each(|fleet| fleet.healthy(&node))?;
    let rate = rate / (SERVICES.len() * CLIENTS) as u64;
    let clients = (0..CLIENTS).flat_map(|nth| SERVICES.map(|(name, _)| (nth, name)));
    let clients = clients.map(|(nth, name)| {
        let args = format!("dial --target {name}:80 --rate {rate} --concurrency 8 --timeout 10000");
        node.docker.run(&format!("{name}-client-{nth}"), Run::default(), &args)
    });
    let clients: Vec<Container> = clients.collect::<anyhow::Result<_>>()?;
    clients.iter().try_for_each(told)?;

    let (begun, mut turns) = (Instant::now(), 0);
    let churned: Outcome = (|| {
        while begun.elapsed() < Duration::from_secs(seconds) {
            let count = fleets.len();
            let fleet = fleets.get_mut(turns % count).context("no fleet")?;
            let killed = TURNS.get((turns / 2) % TURNS.len()).copied().unwrap_or(Killed::Nothing);
            turn(&mut node, fleet, killed).with_context(|| format!("turn {turns}, {killed:?}, {}", fleet.name))?;
            turns += 1;
        }
        Ok(())
    })();
    let took = begun.elapsed();
    let mut failures = Vec::new();
    let mut all = 0;
    for client in clients {
        let calls: Calls = client.stop_and_finish()?;
        all += calls.ok + calls.failed;
        println!(
            "{}: {} ok, {} failed {:?}, connected within {:?} us",
            client.name(),
            calls.ok,
            calls.failed,
            calls.failures,
            calls.connect_us
        );
        if calls.failed > 0 {
            let when: Vec<_> = calls.timeline.iter().enumerate().filter(|(_, (_, failed))| *failed > 0).collect();
            failures.push(format!("{}: {:?}, by second {when:?}", client.name(), calls.failures));
        }
    }
    println!("{turns} turns in {took:?}; {} connections a second", all / took.as_secs().max(1));
    churned?;
    ensure!(all > 0 && failures.is_empty(), "{failures:#?}");
    Ok(())
}

/// Waits until a container's hosts file tells names: from then on it needs no agent for them.
fn told(container: &Container) -> Outcome {
    let hosts = format!("/proc/{}/root/etc/hosts", container.inspect("{{.State.Pid}}")?);
    let told = eventually(Duration::from_secs(10), &format!("the hosts file of {}", container.name()), || {
        ensure!(std::fs::read_to_string(&hosts)?.contains("docker.prod"));
        Ok(())
    });
    told.map(drop)
}

/// A server comes, the oldest goes, and something is killed meanwhile.
fn turn(node: &mut Node, fleet: &mut Fleet, killed: Killed) -> Outcome {
    match killed {
        Killed::AgentFirst => {
            node.agent.kill()?;
            node.agent.restart()?;
            fleet.start(node)?;
        }
        Killed::AgentAmid => {
            fleet.start(node)?;
            node.agent.kill()?;
            node.agent.restart()?;
        }
        Killed::Dockerd => {
            node.docker.crash_and_restart()?;
            fleet.start(node)?;
        }
        Killed::Both => {
            node.agent.kill()?;
            node.docker.crash_and_restart()?;
            node.agent.restart()?;
            fleet.start(node)?;
        }
        Killed::Nothing => fleet.start(node)?,
    }
    fleet.healthy(node)?;
    // Whoever does not hear that a task is told to stop cannot know it: what is promised is for when it does.
    eventually(Duration::from_secs(15), "the agent to follow Docker", || {
        let status = node.agent.status()?;
        ensure!(status.sources.get("docker").is_some_and(|docker| docker.state == "up"), "{:?}", status.sources);
        Ok(())
    })?;
    fleet.stop_oldest(node)
}
