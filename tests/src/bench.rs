//! The benchmark: what meshdog costs and how fast it acts, beside the roads it replaces.
//!
//! Every claim about speed is a ratio of two legs measured in turn in one run; milliseconds are reported beside the
//! budgets (ARCHITECTURE.md, "Budgets") and assert nothing. All traffic stays in namespaces that the benchmark makes
//! itself; they, and the processes in them, end with it.

mod agent;
mod envoy;
mod first_packet;
mod legs;
mod load;
mod netns;
mod programmed;
mod programming;
mod report;
mod services;
mod stats;
mod traffic;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use load::Load;
use report::Report;

/// A run that takes longer than this has hung.
const LONGEST_RUN: Duration = Duration::from_secs(20 * 60);

/// What `tests/bench` takes.
#[derive(Debug, Parser)]
#[command(
    name = "tests/bench",
    about = "Measures meshdog beside direct connections, Envoy and iptables",
    override_usage = "tests/bench [OPTIONS]"
)]
pub struct Args {
    /// Fewer and shorter rounds: to see that the benchmark works, not to cite its figures
    #[arg(long)]
    quick: bool,
    /// Measure this only; may be given more than once
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// The directory of statically linked programs (packaging/build)
    #[arg(long, hide = true)]
    programs: PathBuf,
    /// The Envoy program
    #[arg(long, hide = true)]
    envoy: PathBuf,
    /// Where figures are written, a JSON line each
    #[arg(long, default_value = "target/bench/results.jsonl")]
    out: PathBuf,
}

/// A part of the benchmark that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Requests a second on kept connections
    Requests,
    /// New connections a second
    Connections,
    /// The first packet's cost with 10 to 10,000 services
    FirstPacket,
    /// How fast services are programmed and changed
    Programming,
    /// The whole agent: containers that come and go, memory, CPU, image
    Agent,
}

/// How much is measured.
#[derive(Debug)]
struct Settings {
    /// How often every leg has its turn.
    rounds: usize,
    /// How long a turn's load is measured.
    slice: Duration,
    /// Connects in a turn of the first-packet figure.
    connects: usize,
    /// How many single changes are timed.
    changes: usize,
    /// How many containers are started and stopped.
    starts: usize,
    /// How long the idle agent is watched.
    idle: Duration,
    programs: PathBuf,
    envoy: PathBuf,
}

/// Measures, and reports on stdout and in a file.
///
/// # Errors
/// When a leg cannot be made or does not answer. A budget that is missed is no error.
pub fn run(args: Args) -> Result<()> {
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST_RUN);
        std::process::exit(124);
    });
    let mut settings = Settings {
        rounds: 7,
        slice: Duration::from_secs(1),
        connects: 150,
        changes: 50,
        starts: 50,
        idle: Duration::from_secs(20),
        programs: args.programs,
        envoy: args.envoy,
    };
    if args.quick {
        settings.rounds = 2;
        settings.slice = Duration::from_millis(200);
        settings.connects = 50;
        settings.changes = 10;
        settings.starts = 5;
        settings.idle = Duration::from_secs(3);
    }
    let mut report = Report::create(&args.out, &conditions(&settings, args.quick)?)?;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Requests) {
        traffic::measure(Load::Kept, &settings, &mut report).context("requests")?;
    }
    if wanted(Part::Connections) {
        traffic::measure(Load::Fresh, &settings, &mut report).context("connections")?;
    }
    if wanted(Part::FirstPacket) {
        first_packet::measure(&settings, &mut report).context("first packet")?;
    }
    if wanted(Part::Programming) {
        programming::measure(&settings, &mut report).context("programming")?;
    }
    if wanted(Part::Agent) {
        agent::measure(&settings, &mut report).context("agent")?;
    }
    report.print()
}

/// Where and how the run is measured: the first line of its results.
fn conditions(settings: &Settings, quick: bool) -> Result<serde_json::Value> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    let load = read("/proc/loadavg")?;
    Ok(serde_json::json!({
        "conditions": {
            "kernel": read("/proc/sys/kernel/osrelease")?,
            "cpus": std::thread::available_parallelism()?.get(),
            "load_before": load.split(' ').next(),
            "bridge_nf_call_iptables": "1 in legs named bridge-nf and for the agent, else 0",
            "rounds": settings.rounds,
            "quick": quick,
        }
    }))
}

/// The resident memory of a process in MiB (`VmRSS`, proc(5)).
fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
