//! One hostile container, for long: its neighbours' names and connections notice nothing.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use meshdog_tests::harness::{Container, Node, OUTSIDE, Run, Running, eventually, given};
use meshdog_tests::testbox::dial::{Calls, Percentiles};
use meshdog_tests::testbox::resolve::Asked;

use super::{Outcome, SILENT, node, start_silent_server};

/// How long it is watched without an attack.
const CALM: Duration = Duration::from_secs(15);
/// By how much a neighbour's 99th percentile may grow, in microseconds: the attack takes a share of the machine as well.
const SLOWER_BY: u64 = 100_000;
/// How much memory the agent may take for it, in KiB.
const GROWS_BY: u64 = 32 * 1024;

/// What one of the neighbours met.
#[derive(Debug)]
struct Met {
    what: &'static str,
    asked: u64,
    failed: u64,
    /// When the first one failed, in milliseconds.
    first: Option<u64>,
    us: Percentiles,
}

#[test]
fn a_hostile_container_is_its_own_trouble_alone() -> Outcome {
    let length = Duration::from_secs(given("MESHDOG_HOSTILE_SECONDS", 3600)?);
    let mut node = node()?;
    let _silent = silent_server(&node)?;
    // Containers get the host's name servers when they start; the agent reads them when it does.
    node.agent.restart()?;
    let labels = ["meshdog.orders.port=8080", "meshdog.orders.alias=orders:80", "meshdog.orders.health=http:/healthz"];
    let servers =
        ["orders-1", "orders-2"].map(|name| node.serve(name, Run::labels(&labels), "--port 8080 --sick-while /never"));
    let _servers = servers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    node.agent.healthy("orders", 2)?;

    let calm = watch(&node, CALM, None)?;
    let before = node.agent.resident_kib()?;
    let attack = format!(
        "attack --server {OUTSIDE}:53 --forged 2000 --open 512 --silent {SILENT}:53 --idle 128 --service orders:80 --syns 500"
    );
    let attacker = node.docker.run("attacker", Run::default(), &attack)?;
    let (stop, most) = (AtomicBool::new(false), std::sync::Mutex::new((before, 0_usize)));
    let (attacked, changes) = thread::scope(|scope| {
        let changes = scope.spawn(|| change_labels(&stop));
        let attacked = watch(&node, length, Some(&most));
        stop.store(true, Ordering::Relaxed);
        let changes = changes.join().map_err(|_| anyhow!("a thread ended"));
        anyhow::Ok((attacked?, changes??))
    })?;
    let (resident, unleased) = *most.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(attacker.inspect("{{.State.Running}}")? == "true", "the attacker ended");
    println!("agent: {before} KiB, at most {resident} KiB; {changes} containers with other labels came and went");
    println!("overload: {}", node.agent.metric("meshdog_dns_queries_total{kind=\"overload\"")?);
    let mut faults = Vec::new();
    for (calm, attacked) in calm.iter().zip(&attacked) {
        for (with, met) in [("without", calm), ("with", attacked)] {
            let Met { what, asked, failed, first, us } = met;
            println!("{what}, {with} the attack: {failed} of {asked} failed (the first at {first:?} ms), {us:?} us");
        }
        if calm.failed + attacked.failed > 0 || attacked.us.p99 > calm.us.p99 + SLOWER_BY {
            faults.push(calm.what);
        }
    }
    let lost = node.agent.logged("DNS capture lease not renewed")?;
    ensure!(lost == 0 && unleased == 0, "the lease was lost {lost} times, and found so {unleased} times");
    ensure!(resident < before + GROWS_BY, "the agent took {resident} KiB");
    ensure!(faults.is_empty(), "{faults:?}");
    drop(attacker);
    node.agent.healthy("orders", 2).map(drop)
}

/// Neighbours at work for so long, and the agent's size and lease.
fn watch(node: &Node, length: Duration, most: Option<&std::sync::Mutex<(u64, usize)>>) -> anyhow::Result<Vec<Met>> {
    let run = |name: &str, args: &str| node.docker.run(name, Run::default(), args);
    let ask = "--interval 20 --timeout 2000";
    let relayed = run("asks-outside", &format!("resolve www.outside.test {ask} --server {OUTSIDE}:53"))?;
    let mesh = run("asks-mesh", &format!("resolve orders {ask} --server {OUTSIDE}:53"))?;
    let dials = run("dials", "dial --target orders:80 --rate 50 --concurrency 4")?;
    let until = Instant::now() + length;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(200));
        if let Some(most) = most {
            let up = node.agent.metric("meshdog_dns_up")? > 0.0;
            let mut most = most.lock().map_err(|_| anyhow!("a thread ended"))?;
            most.0 = most.0.max(node.agent.resident_kib()?);
            most.1 += usize::from(!up);
        }
    }
    let asked = |what, container: &Container| -> anyhow::Result<Met> {
        let asked: Vec<Asked> = container.stop_and_finish()?;
        let failed: Vec<_> =
            asked.iter().filter(|asked| asked.rcode != Some(0) || asked.addresses.is_empty()).collect();
        let mut times: Vec<u64> = asked.iter().map(|asked| asked.took_us).collect();
        let first = failed.first().map(|asked| asked.at_ms);
        Ok(Met { what, asked: asked.len() as u64, failed: failed.len() as u64, first, us: Percentiles::of(&mut times) })
    };
    let calls: Calls = dials.stop_and_finish()?;
    let called = Met {
        what: "connects",
        asked: calls.ok + calls.failed,
        failed: calls.failed,
        first: None,
        us: calls.connect_us,
    };
    Ok(vec![asked("names outside", &relayed)?, asked("names of the mesh", &mesh)?, called])
}

/// Containers that claim all sorts of things come and go, as fast as Docker lets them; how many.
fn change_labels(stop: &AtomicBool) -> anyhow::Result<usize> {
    let mut count = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--name", "vandal"]);
        // Never an alias of `orders` that it could lose: whoever came first has it.
        for service in 0..8 {
            let name = format!("v{}-{service}", count % 50);
            command.args(["--label", &format!("meshdog.{name}.port={}", 1000 + count % 1000)]);
            command.args(["--label", &format!("meshdog.{name}.alias=orders:80,{name}:80,x{count}:81")]);
            command.args(["--label", &format!("meshdog.{name}.health=tcp")]);
        }
        let _ = command.args(["testbox", "resolve", "x.outside.test", "--count", "1"]).output()?;
        count += 1;
    }
    Ok(count)
}

fn silent_server(node: &Node) -> anyhow::Result<Running> {
    let (silent, world) = start_silent_server(node)?;
    let path = format!("{world}/resolv.conf");
    let before = std::fs::read_to_string(&path).context("resolv.conf")?;
    std::fs::write(&path, format!("{before}nameserver {SILENT}\n"))?;
    eventually(Duration::from_secs(5), "the silent server", || {
        let sockets = Command::new("ip").args(["netns", "exec", "outside", "ss", "-Hlun", "sport = 53"]).output()?;
        ensure!(String::from_utf8_lossy(&sockets.stdout).contains(SILENT));
        Ok(())
    })?;
    Ok(silent)
}
