//! Labels are written by strangers.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use meshdog_tests::harness::{Run, eventually, output};

use super::{Outcome, node, replicas};

#[test]
fn bad_labels_hurt_nobody_and_are_explained() -> Outcome {
    let node = node()?;
    let _good = replicas(&node, "good", 2, "")?;
    let long = format!("meshdog.{}.port=8080", "x".repeat(4096));
    let labels = [
        "meshdog.good.port=eighty",
        "meshdog.good.alias=good:80,:,good:99999",
        "meshdog.good.weight=0",
        "meshdog.other.port=8080",
        "meshdog.other.health=exec:/bin/sh",
        "meshdog.other.unknown=1",
        "meshdog..port=8080",
        "meshdog.\u{1b}[2J.port=8080",
        &long,
    ];
    let _bad = node.serve("vandal", Run::labels(&labels), "--port 8080")?;
    let after = replicas(&node, "after", 1, "")?;
    node.agent.healthy("good", 2)?;
    for service in ["good", "after"] {
        let calls = node.dial(Run::default(), &format!("--target {service}:80 --count 100"))?;
        ensure!(calls.failed == 0 && !calls.answers.contains_key("vandal"), "{calls:?}");
    }
    drop(after);

    let explained = node.agent.command(&["explain", "vandal"])?;
    let text = String::from_utf8_lossy(&explained.stdout);
    ensure!(text.contains("eighty") && text.contains("meshdog.good.port"), "{explained:?}");
    ensure!(!text.contains('\u{1b}'), "a label reached the terminal unescaped: {text:?}");
    Ok(())
}

#[test]
fn a_disabled_container_stays_out() -> Outcome {
    let node = node()?;
    let labels = ["meshdog.hidden.port=8080", "meshdog.hidden.alias=hidden:80", "meshdog.enable=false"];
    let _hidden = node.serve("hidden", Run::labels(&labels), "--port 8080")?;
    let _marker = replicas(&node, "marker", 1, "")?;
    ensure!(node.agent.status()?.service("hidden").is_none_or(|service| service.endpoints.is_empty()));
    Ok(())
}

#[test]
fn labels_that_are_baked_into_an_image_make_no_replica() -> Outcome {
    let node = node()?;
    let _paid = replicas(&node, "paid", 1, "")?;
    let build = "printf 'FROM testbox\nLABEL meshdog.paid.port=8080\n' | docker build --quiet --tag baked -";
    output(Command::new("sh").args(["-c", build]))?;
    let serve = ["baked", "serve", "--name", "stranger", "--port", "8080"];
    output(Command::new("docker").args(["run", "--detach", "--name", "stranger"]).args(serve))?;
    eventually(Duration::from_secs(15), "an explanation", || {
        let explained = node.agent.command(&["explain", "stranger"])?;
        let text = String::from_utf8_lossy(&explained.stdout).into_owned();
        ensure!(text.contains("meshdog.paid.port") && text.contains("mesh.image_labels"), "{text}");
        Ok(())
    })?;
    let calls = node.dial(Run::default(), "--target paid:80 --count 100")?;
    ensure!(calls.failed == 0 && calls.answers.keys().eq(["paid-1"]), "{calls:?}");
    Ok(())
}
