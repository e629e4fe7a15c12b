//! Endpoints and names that come and go.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use meshdog_tests::harness::{OUTSIDE, Run, eventually};
use meshdog_tests::testbox::dial::Calls;
use meshdog_tests::testbox::resolve::Asked;

use super::{Outcome, node, replicas};

#[test]
fn a_service_without_healthy_endpoints_refuses_at_once() -> Outcome {
    let node = node()?;
    let tcp = ["meshdog.sick.port=8080", "meshdog.sick.alias=sick:80", "meshdog.sick.health=http:/healthz"];
    // /program is there for ever: the server is never well.
    let _server = node.serve("sick", Run::labels(&tcp), "--port 8080 --sick-while /program")?;
    node.agent.service("sick", |service| service.endpoints.len() == 1)?;
    sleep(Duration::from_secs(1));
    let calls = node.dial(Run::default(), "--target sick:80 --count 50")?;
    ensure!(calls.failures.get("refused") == Some(&50), "{calls:?}");
    ensure!(calls.failed_us.max < 100_000, "a refusal took over 100 ms: {calls:?}");
    Ok(())
}

#[test]
fn a_sick_endpoint_gets_no_calls_until_it_is_well() -> Outcome {
    let node = node()?;
    let labels = ["meshdog.mixed.port=8080", "meshdog.mixed.alias=mixed:80", "meshdog.mixed.health=http:/healthz"];
    let _well = node.serve("well", Run::labels(&labels), "--port 8080 --sick-while /never")?;
    let _sick = node.serve("sick", Run::labels(&labels), "--port 8080 --sick-while /program")?;
    node.agent.service("mixed", |service| service.endpoints.len() == 2 && service.healthy() == 1)?;
    let calls = node.dial(Run::default(), "--target mixed:80 --count 100")?;
    ensure!(calls.failed == 0 && calls.answers.keys().eq(["well"]), "{calls:?}");
    Ok(())
}

#[test]
fn clients_that_started_first_see_new_services() -> Outcome {
    let node = node()?;
    let client = node.docker.run("early", Run::default(), "dial --target later:80 --rate 20 --timeout 1000")?;
    sleep(Duration::from_millis(500));
    let _servers = replicas(&node, "later", 1, "")?;
    sleep(Duration::from_secs(2));
    let calls: Calls = client.stop_and_finish()?;
    ensure!(calls.failures.contains_key("resolve"), "the client came too late to show anything: {calls:?}");
    let last = calls.timeline.iter().rev().nth(1).context("the client ended too early")?;
    ensure!(last.0 > 0 && last.1 == 0, "the last full second should be without failures: {calls:?}");
    Ok(())
}

#[test]
fn docker_stop_under_load_fails_no_call() -> Outcome {
    let node = node()?;
    let servers = replicas(&node, "shop", 3, "--linger 500")?;
    let client = node.docker.run("buyer", Run::default(), "dial --target shop:80 --rate 500 --concurrency 8")?;
    sleep(Duration::from_secs(1));
    servers[1].stop()?;
    node.agent.healthy("shop", 2)?;
    sleep(Duration::from_secs(1));
    let calls: Calls = client.stop_and_finish()?;
    ensure!(calls.failed == 0 && calls.ok > 500, "{calls:?}");
    let stopped = calls.answers.get("shop-2").copied().unwrap_or(0);
    let others = calls.answers.get("shop-1").copied().unwrap_or(0);
    ensure!(stopped > 0 && others > stopped, "the stopped replica should have less than its third: {calls:?}");
    Ok(())
}

#[test]
fn a_replica_that_starts_takes_its_share_at_once() -> Outcome {
    let node = node()?;
    let mut servers = replicas(&node, "grow", 1, "")?;
    let client = node.docker.run("grower", Run::default(), "dial --target grow:80 --rate 300 --concurrency 4")?;
    let labels = ["meshdog.grow.port=8080", "meshdog.grow.alias=grow:80"];
    servers.push(node.serve("grow-2", Run::labels(&labels), "--port 8080")?);
    node.agent.healthy("grow", 2)?;
    sleep(Duration::from_secs(1));
    let calls: Calls = client.stop_and_finish()?;
    ensure!(calls.answers.get("grow-2").is_some_and(|answers| *answers > 50), "{calls:?}");
    Ok(())
}

#[test]
fn other_names_go_to_the_resolver_outside() -> Outcome {
    let node = node()?;
    let ask = |name: &str| -> anyhow::Result<Asked> {
        let container =
            node.docker.run("asker", Run::default(), &format!("resolve {name} --count 1 --timeout 3000"))?;
        let asked: Vec<Asked> = container.finish()?;
        asked.into_iter().next().context("nothing was asked")
    };
    let outside = ask("www.outside.test")?;
    ensure!(outside.rcode == Some(0) && outside.addresses == [OUTSIDE.parse::<std::net::Ipv4Addr>()?], "{outside:?}");
    let nowhere = ask("nowhere")?;
    ensure!(nowhere.rcode == Some(3), "{nowhere:?}");

    let _servers = replicas(&node, "inside", 1, "")?;
    let vip = node.agent.healthy("inside", 1)?.vip.context("no VIP")?;
    let (inside, _) = eventually(Duration::from_secs(2), "the name", || {
        let inside = ask("inside")?;
        ensure!(inside.rcode == Some(0), "{inside:?}");
        Ok(inside)
    })?;
    ensure!(inside.addresses == [vip.parse::<std::net::Ipv4Addr>()?], "{vip}: {inside:?}");
    Ok(())
}

#[test]
fn an_endpoint_that_refuses_connections_is_ejected_without_any_probe() -> Outcome {
    let node = node()?;
    let _servers = replicas(&node, "steady", 2, "")?;
    // Offers a port that nobody listens on.
    let labels = ["meshdog.steady.port=8080", "meshdog.steady.alias=steady:80"];
    let _broken = node.serve("broken", Run::labels(&labels), "--port 9090")?;
    node.agent.healthy("steady", 3)?;
    let calls = node.dial(Run::default(), "--target steady:80 --count 100 --rate 50")?;
    ensure!((1..50).contains(&calls.failed), "it should take a failure, not all: {calls:?}");
    node.agent.service("steady", |service| service.endpoints.iter().any(|endpoint| endpoint.state == "ejected"))?;
    let calls = node.dial(Run::default(), "--target steady:80 --count 300")?;
    ensure!(calls.failed == 0 && calls.answers.len() == 2, "{calls:?}");
    Ok(())
}
