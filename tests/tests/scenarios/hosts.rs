//! Mesh names in containers' hosts files.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use meshdog_tests::harness::{Container, Node, Run, eventually, output};

use super::{Outcome, node, replicas};

/// How long a name may take to be written, or taken out. Far more than it takes.
const SOON: Duration = Duration::from_secs(10);

/// A container that only waits to be looked at.
fn waiter(node: &Node, name: &str, run: Run<'_>) -> anyhow::Result<Container> {
    node.serve(name, run, "--port 7777")
}

/// `/etc/hosts` as the container sees it.
fn hosts(container: &Container) -> anyhow::Result<String> {
    let pid = container.inspect("{{.State.Pid}}")?;
    std::fs::read_to_string(format!("/proc/{pid}/root/etc/hosts")).with_context(|| container.name().to_owned())
}

/// What of it stands before the names of the mesh: Docker's own lines.
fn of_docker(container: &Container) -> anyhow::Result<String> {
    let text = hosts(container)?;
    Ok(text.split("# meshdog:").next().unwrap_or_default().to_owned())
}

/// The address that a container's hosts file gives for a name.
fn told(container: &Container, name: &str) -> anyhow::Result<Option<String>> {
    let text = hosts(container)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.find(|(_, told)| *told == name).map(|(vip, _)| vip.to_owned()))
}

/// Waits until a container's hosts file tells a service's VIP.
fn tells(node: &Node, container: &Container, service: &str) -> Outcome {
    let vip = node.agent.status()?.service(service).and_then(|service| service.vip.clone()).context("no VIP")?;
    let found = eventually(SOON, &format!("{service} in the hosts file of {}", container.name()), || {
        let found = told(container, service)?;
        ensure!(found.as_ref() == Some(&vip), "{found:?} instead of {vip}: {}", hosts(container)?);
        Ok(())
    });
    found.with_context(|| node.agent.log_tail()).map(drop)
}

fn docker(args: &[&str]) -> anyhow::Result<String> {
    output(Command::new("docker").args(args))
}

#[test]
fn containers_older_than_a_service_find_it_in_their_hosts_file() -> Outcome {
    let node = node()?;
    let bridge = waiter(&node, "old-bridge", Run::default())?;
    let host = waiter(&node, "old-host", Run::options("--network host"))?;
    let shares = node.serve("old-shares", Run::options("--network container:old-bridge"), "--port 7778")?;
    let own = of_docker(&bridge)?;
    let servers = replicas(&node, "late", 1, "")?;
    for container in [&bridge, &host, &shares] {
        tells(&node, container, "late")?;
    }
    ensure!(own.contains("localhost") && of_docker(&bridge)? == own, "what Docker wrote stays: {}", hosts(&bridge)?);
    // By the hosts file alone: this one asks a name server that is not there.
    let calls = node.dial(Run::options("--dns 192.0.2.1"), "--target late:80 --count 20 --timeout 500")?;
    ensure!(calls.ok > 0, "{calls:?}");
    drop(servers);
    Ok(())
}

#[test]
fn hosts_files_are_written_again_after_restarts() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "steady-name", 1, "")?;
    let client = waiter(&node, "restarts", Run::default())?;
    tells(&node, &client, "steady-name")?;
    docker(&["restart", "--time", "0", client.name()])?;
    tells(&node, &client, "steady-name")?;

    docker(&["network", "create", "joined"])?;
    let joined = (|| {
        docker(&["network", "connect", "joined", client.name()])?;
        let address = client.inspect("{{.NetworkSettings.Networks.joined.IPAddress}}")?;
        ensure!(hosts(&client)?.contains(&address), "Docker's line stays: {}", hosts(&client)?);
        tells(&node, &client, "steady-name")?;
        docker(&["network", "disconnect", "joined", client.name()])?;
        tells(&node, &client, "steady-name")
    })();
    docker(&["network", "rm", "--force", "joined"])?;
    joined?;

    node.agent.kill()?;
    ensure!(told(&client, "steady-name")?.is_some(), "the name stays when the agent dies");
    docker(&["restart", "--time", "0", client.name()])?;
    ensure!(told(&client, "steady-name")?.is_none(), "Docker was to write the file anew");
    node.agent.restart()?;
    node.agent.healthy("steady-name", 1)?;
    tells(&node, &client, "steady-name")?;

    node.docker.crash_and_restart()?;
    docker(&["restart", "--time", "0", client.name()])?;
    node.agent.healthy("steady-name", 1)?;
    tells(&node, &client, "steady-name")
}

#[test]
fn what_is_the_users_is_left_alone() -> Outcome {
    let node = node()?;
    let world = std::env::var("MESHDOG_WORLD")?;
    let (mounted, text) = (format!("{world}/users-hosts"), "127.0.0.1 localhost\n10.1.2.3 mine\n");
    std::fs::write(&mounted, text)?;
    let options = format!("--volume {mounted}:/etc/hosts");
    let users = waiter(&node, "mounted", Run::options(&options))?;
    let without = waiter(&node, "without", Run::labels(&["meshdog.dns=false"]))?;
    let defines = waiter(&node, "defines", Run::options("--add-host theirs:10.9.8.7"))?;
    let other = waiter(&node, "other", Run::default())?;
    let before = hosts(&without)?;

    let _theirs = replicas(&node, "theirs", 1, "")?;
    tells(&node, &other, "theirs")?;
    eventually(SOON, "the other names", || {
        ensure!(told(&defines, "theirs.prod")?.is_some(), "{}", hosts(&defines)?);
        Ok(())
    })?;
    ensure!(told(&defines, "theirs")?.is_none(), "the container's own line wins: {}", hosts(&defines)?);
    ensure!(std::fs::read_to_string(&mounted)? == text, "the user's own file was changed");
    ensure!(hosts(&users)? == text && hosts(&without)? == before);
    let explained = node.agent.command(&["explain", "mounted"])?;
    ensure!(String::from_utf8_lossy(&explained.stdout).contains("left alone"), "{explained:?}");
    Ok(())
}

#[test]
fn a_hostile_hosts_file_hurts_nobody() -> Outcome {
    let node = node()?;
    let (huge, linked) = (waiter(&node, "huge", Run::default())?, waiter(&node, "linked", Run::default())?);
    let victim = format!("{}/victim", std::env::var("MESHDOG_WORLD")?);
    std::fs::write(&victim, "precious\n")?;
    let path = linked.inspect("{{.HostsPath}}")?;
    std::fs::remove_file(&path)?;
    std::os::unix::fs::symlink(&victim, &path)?;
    let file = std::fs::File::options().write(true).open(huge.inspect("{{.HostsPath}}")?)?;
    file.set_len(100 << 20)?;
    let good = waiter(&node, "good", Run::default())?;
    let _servers = replicas(&node, "calm-name", 1, "")?;
    tells(&node, &good, "calm-name")?;
    eventually(SOON, "the reasons", || {
        for (container, reason) in [("huge", "bytes"), ("linked", "links")] {
            let explained = node.agent.command(&["explain", container])?;
            ensure!(String::from_utf8_lossy(&explained.stdout).contains(reason), "{explained:?}");
        }
        Ok(())
    })?;
    ensure!(std::fs::read_to_string(&victim)? == "precious\n");
    ensure!(file.metadata()?.len() == 100 << 20);
    Ok(())
}

#[test]
fn uninstall_takes_names_out_of_hosts_files() -> Outcome {
    let mut node = node()?;
    let _servers = replicas(&node, "leaving", 1, "")?;
    let (runs, stopped) = (waiter(&node, "runs", Run::default())?, waiter(&node, "stopped", Run::default())?);
    tells(&node, &runs, "leaving")?;
    tells(&node, &stopped, "leaving")?;
    let path = stopped.inspect("{{.HostsPath}}")?;
    docker(&["stop", "--time", "0", stopped.name()])?;
    ensure!(std::fs::read_to_string(&path)?.contains("leaving"), "Docker leaves the file of a stopped container");
    ensure!(node.agent.terminate()?.success());
    let uninstalled = node.agent.command(&["uninstall"])?;
    ensure!(uninstalled.status.success(), "{uninstalled:?}");
    for text in [hosts(&runs)?, std::fs::read_to_string(&path)?] {
        ensure!(text.contains("localhost") && !text.contains("meshdog") && !text.contains("leaving"), "{text}");
    }
    node.agent.restart()?;
    tells(&node, &runs, "leaving")
}
