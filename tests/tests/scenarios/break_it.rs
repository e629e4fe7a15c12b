//! Parts are taken away while calls go on.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use meshdog_tests::harness::{Run, eventually, output};
use meshdog_tests::testbox::dial::Calls;
use meshdog_tests::testbox::resolve::Asked;

use super::{Outcome, node, replicas};

/// Longest that names may go unanswered after the agent's death: the lease and one query's time-out.
const FAIL_OPEN: Duration = Duration::from_secs(5);

#[test]
fn the_agent_killed_under_load_fails_no_call_and_dns_falls_open() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "core", 3, "")?;
    let load = "dial --target core:80 --rate 300 --concurrency 8 --resolve-once";
    let client = node.docker.run("caller", Run::default(), load)?;
    let ask = "resolve www.outside.test --interval 200 --timeout 500";
    let askers = [
        node.docker.run("asker-new-ports", Run::default(), ask)?,
        node.docker.run("asker-one-port", Run::default(), &format!("{ask} --keep-port"))?,
    ];
    sleep(Duration::from_secs(1));
    node.agent.kill()?;
    sleep(FAIL_OPEN + Duration::from_secs(2));
    for asker in askers {
        let asked: Vec<Asked> = asker.stop_and_finish()?;
        let tail = asked.get(asked.len().saturating_sub(5)..).unwrap_or_default();
        ensure!(tail.len() == 5 && tail.iter().all(|ask| ask.rcode == Some(0)), "{}: {asked:?}", asker.name());
        let silent: Vec<u64> = asked.iter().filter(|ask| ask.rcode != Some(0)).map(|ask| ask.at_ms).collect();
        println!("{}: unanswered at {silent:?} ms", asker.name());
    }

    node.agent.restart()?;
    node.agent.healthy("core", 3)?;
    let by_name = node.dial(Run::default(), "--target core:80 --count 100")?;
    ensure!(by_name.failed == 0, "after the restart: {by_name:?}");
    let calls: Calls = client.stop_and_finish()?;
    ensure!(calls.failed == 0 && calls.ok > 1000, "over kill and restart: {calls:?}");
    Ok(())
}

#[test]
fn an_agent_that_is_stopped_leaves_the_balancing_on() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "calm", 2, "")?;
    let load = "dial --target calm:80 --rate 300 --concurrency 4 --resolve-once";
    let client = node.docker.run("caller", Run::default(), load)?;
    sleep(Duration::from_millis(500));
    node.agent.hang_up()?;
    ensure!(node.agent.status()?.ready && node.agent.alive(), "SIGHUP changes nothing");
    let begun = Instant::now();
    let status = node.agent.terminate()?;
    ensure!(status.success(), "run ended with {status}");
    println!("SIGTERM to exit: {:?}", begun.elapsed());
    sleep(Duration::from_secs(1));
    let calls: Calls = client.stop_and_finish()?;
    ensure!(calls.failed == 0 && calls.answers.len() == 2, "{calls:?}");
    Ok(())
}

#[test]
fn a_flushed_ruleset_is_repaired_within_a_second() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "hold", 2, "")?;
    let vip = node.agent.healthy("hold", 2)?.vip.context("no VIP")?;
    let repairs = node.agent.status()?.dataplane.repairs;
    output(Command::new("nft").args(["flush", "ruleset"]))?;
    let repaired = eventually(Duration::from_secs(1), "the VIP to answer", || {
        let calls = node.dial_from_node(&format!("--target {vip}:80 --count 1 --timeout 100"))?;
        ensure!(calls.ok == 1, "{calls:?}");
        Ok(())
    });
    // Docker does not repair its own rules before it is started again.
    node.docker.crash_and_restart()?;
    println!("answered again after {:?}", repaired?.1);
    let now = node.agent.status()?.dataplane.repairs;
    ensure!(now > repairs, "repairs were {repairs}, are {now}");
    let calls = node.dial(Run::default(), "--target hold:80 --count 100")?;
    ensure!(calls.failed == 0, "{calls:?}");
    Ok(())
}

#[test]
fn dockerd_crashes_under_load_and_comes_back() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "deep", 2, "")?;
    let client = node.docker.run("caller", Run::default(), "dial --target deep:80 --rate 300 --concurrency 4")?;
    sleep(Duration::from_millis(500));
    node.docker.crash_and_restart()?;
    let labels = ["meshdog.deep.port=8080", "meshdog.deep.alias=deep:80"];
    let _third = node.serve("deep-3", Run::labels(&labels), "--port 8080")?;
    node.agent.healthy("deep", 3)?;
    sleep(Duration::from_secs(1));
    let calls: Calls = client.stop_and_finish()?;
    ensure!(calls.failed == 0 && calls.answers.len() == 3, "{calls:?}");
    Ok(())
}

#[test]
fn uninstall_leaves_no_table_and_a_new_start_brings_all_back() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "gone", 1, "")?;
    ensure!(node.agent.terminate()?.success());
    let tables = || output(Command::new("nft").args(["list", "tables"]));
    ensure!(tables()?.contains("meshdog"), "stopping alone should leave the tables");
    let uninstalled = node.agent.command(&["uninstall"])?;
    ensure!(uninstalled.status.success(), "{uninstalled:?}");
    ensure!(std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_acct")?.trim() == "0", "as it was before");
    ensure!(!tables()?.contains("meshdog"), "{}", tables()?);
    node.agent.restart()?;
    node.agent.healthy("gone", 1)?;
    let calls = node.dial(Run::default(), "--target gone:80 --count 20")?;
    ensure!(calls.failed == 0, "{calls:?}");
    Ok(())
}
