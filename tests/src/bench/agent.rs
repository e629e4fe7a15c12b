//! The whole agent on a node with a real dockerd: how soon a container that starts is reached and one that stops is
//! not, and what the agent takes up meanwhile.
//!
//! Times are wall-clock times of one machine: Docker's own for the start of a container, the client's for all else. The
//! client runs on the node and dials the VIP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use super::Settings;
use super::report::{Figure, Report};
use super::stats::Latencies;
use crate::harness::{self, Container, Node, Run, eventually, output};
use crate::testbox::serve::Stopped;

/// ARCHITECTURE.md, "Budgets": milliseconds, MiB, percent of a core.
const BUDGET_START: f64 = 25.0;
const BUDGET_STOP: f64 = 5.0;
const BUDGET_IDLE_MIB: f64 = 12.0;
const BUDGET_FULL_MIB: f64 = 64.0;
const BUDGET_IDLE_CPU: f64 = 0.2;
const BUDGET_IMAGE_MIB: f64 = 15.0;

/// Kinds of containers, services of each, and replicas that make 5,000 services of 4 endpoints.
const BLOCKS: usize = 5;
const SERVICES_PER_BLOCK: usize = 1_000;
const REPLICAS: usize = 4;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The client's pause between two dials: what its figures are good to.
const PAUSE: Duration = Duration::from_micros(200);
/// How long the agent is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);
const STOP: &str = "docker stop to last new connection, p99";
const MEMORY: &str = "resident memory of the agent";

/// Measures all of it on one node.
pub(crate) fn measure(settings: &Settings, report: &mut Report) -> Result<()> {
    let mut node = Node::start(&settings.programs, "")?;
    image(&settings.programs, report).context("image")?;
    idle(&node, settings.idle, report).context("idle")?;
    life(&node, settings.starts, report).context("start and stop")?;
    full(&mut node, report).context("5,000 services")
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn image(programs: &Path, report: &mut Report) -> Result<()> {
    const TAG: &str = "meshdog:bench";
    output(Command::new("packaging/image").arg("--from").arg(programs).arg(TAG))?;
    let size = output(Command::new("docker").args(["image", "inspect", "--format", "{{.Size}}", TAG]))?;
    let size = mib(size.trim().parse()?);
    report.add(Figure::new("image", "meshdog", size, "MiB").at_most(size, BUDGET_IMAGE_MIB))
}

/// An agent with nothing to do.
fn idle(node: &Node, length: Duration, report: &mut Report) -> Result<()> {
    thread::sleep(SETTLE);
    let resident = node.agent.resident_kib()? as f64 / 1024.0;
    report.add(Figure::new(MEMORY, "idle", resident, "MiB").at_most(resident, BUDGET_IDLE_MIB))?;

    let clock = clock_getcpuclockid(Pid::from_raw(node.agent.pid()?.try_into()?))?;
    let used = || Ok::<_, nix::Error>(Duration::from(clock.now()?));
    let (before, begun) = (used()?, Instant::now());
    thread::sleep(length);
    let percent = (used()? - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let figure = Figure::new("CPU time of the agent", "idle", percent, "% of a core");
    report.add(figure.at_most(percent, BUDGET_IDLE_CPU))
}

/// One container after the other behind one name: from its start to its first answer, and from its stop to the last
/// connection that it got.
fn life(node: &Node, times: usize, report: &mut Report) -> Result<()> {
    let start = || {
        let labels = ["meshdog.comer.port=8080", "meshdog.comer.alias=comer:80"];
        node.serve("comer", Run::labels(&labels), "--port 8080 --linger 300")
    };
    let first = start()?;
    let vip = node.agent.healthy("comer", 1)?.vip.context("the service has no VIP")?;
    let vip = SocketAddr::new(vip.parse()?, 80);
    drop(first);
    eventually(PATIENCE, "the VIP to refuse", || {
        ensure!(TcpStream::connect(vip).is_err(), "it still accepts");
        Ok(())
    })?;

    let mut starts = Latencies::default();
    let (mut from_request, mut from_signal) = (Latencies::default(), Latencies::default());
    for _ in 0..times {
        let answer = thread::spawn(move || first_answer(vip));
        let container = start()?;
        let started: jiff::Timestamp = container.inspect("{{.State.StartedAt}}")?.parse()?;
        starts.push(since(started.into(), join(answer)?));

        let last = thread::spawn(move || last_connection(vip));
        let (requested, signalled) = stop(&container)?;
        let last = join(last)?;
        from_request.push(since(requested, last));
        from_signal.push(since(signalled, last));
    }
    for (figure, leg, latencies, budget) in [
        ("container start to first answer through its VIP, p99", "meshdog", starts, Some(BUDGET_START)),
        (STOP, "from the stop signal", from_signal, Some(BUDGET_STOP)),
        // Docker's own way to the signal included.
        (STOP, "from the request to Docker", from_request, None),
    ] {
        let [p50, p99] = latencies.percentiles([50.0, 99.0])?;
        let value = p99 / 1000.0;
        let figure = Figure::new(figure, leg, value, "ms").latency(p50, p99);
        report.add(if let Some(budget) = budget { figure.at_most(value, budget) } else { figure })?;
    }
    Ok(())
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// Zero where the later event came first: a connection before the stop.
fn since(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

/// When the first request to the VIP was answered.
fn first_answer(vip: SocketAddr) -> Result<SystemTime> {
    let ask = || -> std::io::Result<usize> {
        let mut stream = dial(vip)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        stream.read(&mut [0; 512])
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if ask().is_ok_and(|read| read > 0) {
            return Ok(SystemTime::now());
        }
        thread::sleep(PAUSE);
    }
    bail!("{vip} was not answered within {PATIENCE:?}")
}

/// When the last connection to the VIP was begun that was accepted. Some time without any must follow it.
fn last_connection(vip: SocketAddr) -> Result<SystemTime> {
    const QUIET: Duration = Duration::from_millis(100);
    let begun = Instant::now();
    let (mut last, mut refused_since) = (None, None);
    while begun.elapsed() < PATIENCE {
        let dialled = SystemTime::now();
        if dial(vip).is_ok() {
            (last, refused_since) = (Some(dialled), None);
        } else if refused_since.get_or_insert_with(Instant::now).elapsed() > QUIET {
            return last.context("no connection before the stop");
        }
        thread::sleep(PAUSE);
    }
    bail!("{vip} was still answered after {PATIENCE:?}")
}

/// A connection that ends with a reset, so that none of thousands is left in TIME_WAIT.
fn dial(vip: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&vip, Duration::from_secs(1))?;
    setsockopt(&stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(stream)
}

/// Asks Docker to stop a container, as `docker stop` does, and waits until it has. Says when Docker was asked, and when
/// the signal reached the container.
fn stop(container: &Container) -> Result<(SystemTime, SystemTime)> {
    let mut docker = UnixStream::connect(harness::docker::SOCKET)?;
    docker.set_read_timeout(Some(PATIENCE))?;
    let requested = SystemTime::now();
    write!(docker, "POST /containers/{}/stop HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", container.name())?;
    let mut answer = String::new();
    docker.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 204"), "Docker does not stop the container: {answer}");
    let Stopped { signalled_ns } = container.finish()?;
    Ok((requested, jiff::Timestamp::from_nanosecond(signalled_ns.into())?.into()))
}

/// An agent with much to hold.
fn full(node: &mut Node, report: &mut Report) -> Result<()> {
    node.agent.restart_with(&harness::blocks(BLOCKS, SERVICES_PER_BLOCK))?;
    let mut containers = Vec::new();
    for block in 0..BLOCKS {
        for replica in 0..REPLICAS {
            containers.push(node.serve(&format!("block-{block}-{replica}"), Run::default(), "--port 8080")?);
        }
    }
    thread::sleep(2 * SETTLE);
    let resident = node.agent.resident_kib()? as f64 / 1024.0;
    // Asked after its memory was read: a status of 20,000 endpoints takes memory itself.
    let status = node.agent.status()?;
    let healthy: usize = status.services.iter().map(harness::Service::healthy).sum();
    ensure!(healthy == BLOCKS * SERVICES_PER_BLOCK * REPLICAS && status.dataplane.in_sync, "only {healthy} endpoints");
    report.add(Figure::new(MEMORY, "5,000 services x 4", resident, "MiB").at_most(resident, BUDGET_FULL_MIB))
}
