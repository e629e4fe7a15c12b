//! Many services. Figures are printed; what they should be is the benchmark's business.

use std::time::{Duration, Instant};

use anyhow::ensure;
use meshdog_tests::harness::{Run, blocks, eventually};

use super::{Outcome, node};

const BLOCKS: usize = 5;
const SERVICES_PER_BLOCK: usize = 1000;
const REPLICAS: usize = 4;

#[test]
fn five_thousand_services_and_one_more() -> Outcome {
    let mut node = node()?;
    node.agent.restart_with(&blocks(BLOCKS, SERVICES_PER_BLOCK))?;
    let before = node.agent.resident_kib()?;
    let mut containers = Vec::new();
    let begun = Instant::now();
    for block in 0..BLOCKS {
        for replica in 0..REPLICAS {
            containers.push(node.serve(&format!("block-{block}-{replica}"), Run::default(), "--port 8080")?);
        }
    }
    let started = begun.elapsed();
    eventually(Duration::from_secs(60), "all services", || {
        let status = node.agent.status()?;
        let healthy: usize = status.services.iter().map(|service| service.healthy()).sum();
        ensure!(healthy == BLOCKS * SERVICES_PER_BLOCK * REPLICAS && status.dataplane.in_sync, "{healthy} endpoints");
        Ok(())
    })?;
    println!(
        "20 containers started in {started:?}; 20,000 endpoints of 5,000 services seen after {:?}",
        begun.elapsed()
    );
    println!("resident: {before} KiB, now {} KiB", node.agent.resident_kib()?);

    for service in ["s0-0", "s2-500", "s4-999"] {
        let calls = node.dial(Run::default(), &format!("--target {service}.prod:8080 --count 100"))?;
        ensure!(calls.failed == 0 && calls.answers.len() == REPLICAS, "{service}: {calls:?}");
    }

    let labels = ["meshdog.onemore.port=8080"];
    let begun = Instant::now();
    containers.push(node.serve("one-more", Run::labels(&labels), "--port 8080")?);
    node.agent.healthy("onemore", 1)?;
    let status = node.agent.status()?;
    println!(
        "one more: seen {:?} after docker run; its change took {:?} ms",
        begun.elapsed(),
        status.dataplane.last_apply_ms
    );
    let calls = node.dial(Run::default(), "--target onemore.prod:8080 --count 20")?;
    ensure!(calls.failed == 0, "{calls:?}");
    drop(containers);
    node.agent.restart()
}
