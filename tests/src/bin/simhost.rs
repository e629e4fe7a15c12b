//! `simhost`: a simulated Bottlerocket host as a program. Prints one line of JSON with its addresses when it is ready;
//! stops on SIGTERM or SIGINT.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use meshdog_tests::host::imds::Instance;
use meshdog_tests::host::state::Os;
use meshdog_tests::host::updates::Offer;
use meshdog_tests::host::{Options, SimHost};
use semver::Version;
use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated Bottlerocket host: host API, instance metadata service, ECS introspection.
#[derive(Debug, Parser)]
struct Arguments {
    /// Everything is put below this directory: run/api.sock, reboots.
    #[arg(long)]
    dir: PathBuf,
    /// Settings over the built-in ones: TOML (as in user data) or JSON, with or without a `settings` table around them.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Leave all settings pending, as right after a first boot.
    #[arg(long)]
    first_boot: bool,
    /// The variant that runs.
    #[arg(long, default_value = "aws-ecs-2")]
    variant: String,
    /// The version that runs.
    #[arg(long, default_value = "1.20.5")]
    version: Version,
    /// A version on offer; may be repeated, newest first.
    #[arg(long = "update")]
    updates: Vec<Version>,
    /// How long update actions take.
    #[arg(long, default_value_t = 200)]
    takes_ms: u64,
    /// The instance's address; that of the default route unless given.
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// The host's name.
    #[arg(long, default_value = "simhost")]
    hostname: String,
    /// The instance's availability zone; the region is all but its last letter.
    #[arg(long, default_value = "us-west-2a")]
    zone: String,
    /// Where the instance metadata service listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    imds: SocketAddr,
    /// Where the ECS introspection API listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    ecs: SocketAddr,
    /// Where the control API listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// dockerd's socket: show the containers with ECS labels as tasks.
    #[arg(long)]
    docker: Option<PathBuf>,
    /// A program that stands for the reboot; its failure is the action's.
    #[arg(long)]
    reboot: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let host = SimHost::start(options(Arguments::parse())?).await?;
    writeln!(std::io::stdout(), "{}", host.addresses())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    host.stop().await?;
    Ok(())
}

fn options(arguments: Arguments) -> anyhow::Result<Options> {
    let mut instance = Instance { hostname: arguments.hostname, ..Instance::default() };
    instance.region = arguments.zone.trim_end_matches(|c: char| c.is_ascii_lowercase()).to_owned();
    instance.zone = arguments.zone;
    instance.address = arguments.address.unwrap_or(instance.address);
    Ok(Options {
        os: Os::new(&arguments.variant, &arguments.version.to_string()),
        settings: arguments.settings.map(read).transpose()?.unwrap_or_default(),
        first_boot: arguments.first_boot,
        instance,
        offer: Offer { versions: arguments.updates, max: None },
        takes: Duration::from_millis(arguments.takes_ms),
        imds: arguments.imds,
        ecs: arguments.ecs,
        control: arguments.control,
        docker: arguments.docker,
        reboot: arguments.reboot,
        ..Options::new(arguments.dir)
    })
}

fn read(path: PathBuf) -> anyhow::Result<Map<String, Value>> {
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let json = path.extension().is_some_and(|extension| extension == "json");
    let tree: Result<Map<String, Value>, String> = if json {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml::from_str(&text).map_err(|error| error.to_string())
    };
    let mut tree = tree.map_err(anyhow::Error::msg).with_context(|| format!("cannot read {}", path.display()))?;
    match tree.remove("settings") {
        Some(Value::Object(settings)) => Ok(settings),
        _ => Ok(tree),
    }
}
