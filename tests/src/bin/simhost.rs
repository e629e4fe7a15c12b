//! `simhost`: a simulated Bottlerocket host as a program. Prints one line of JSON with its addresses when it is ready;
//! stops on SIGTERM or SIGINT. With a disk, the host's `signpost` is put into its directory.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bottlerocket_settings::Image;
use clap::Parser;
use meshdog::update::banks::Bank;
use meshdog_tests::disk::layout::{self, Banked};
use meshdog_tests::disk::running;
use meshdog_tests::host::boot::Boot;
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
    /// Everything is put below this directory: run/api.sock, reboots, signpost.
    #[arg(long)]
    dir: PathBuf,
    /// Settings over the built-in ones: TOML (as in user data) or JSON, with or without a `settings` table around them.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// A file in which settings outlive this process: what was ever committed holds instead of all others.
    #[arg(long)]
    datastore: Option<PathBuf>,
    /// Leave all settings pending, as right after a first boot.
    #[arg(long)]
    first_boot: bool,
    /// The variant that runs, unless a disk says.
    #[arg(long, default_value = "aws-ecs-2")]
    variant: String,
    /// The version that runs, unless a disk says.
    #[arg(long, default_value = "1.20.5")]
    version: Version,
    /// The disk to boot from and to write updates to: an image or a device. If there is none, it is made, with this
    /// version in bank A.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// The bank that runs: A or B. Unless given, the boot loader picks one.
    #[arg(long, requires = "disk", value_parser = bank)]
    active: Option<Bank>,
    /// This boot does not get as far as to be marked successful.
    #[arg(long, requires = "disk")]
    boot_fails: bool,
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
    let options = options(Arguments::parse())?;
    let dir = options.boot.as_ref().map(|_| options.dir.clone());
    let host = SimHost::start(options).await?;
    if let Some(dir) = dir {
        let program = std::env::current_exe()?.with_file_name("signpost");
        running::install(&program, &dir).with_context(|| format!("cannot install {}", program.display()))?;
    }
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
    let os = Os::new(&arguments.variant, &arguments.version.to_string());
    if let Some(disk) = arguments.disk.as_ref().filter(|disk| !disk.exists()) {
        let made = layout::create(disk, Banked::Two, &Image::from(&os));
        made.with_context(|| format!("cannot make {}", disk.display()))?;
    }
    let (active, succeeds) = (arguments.active, !arguments.boot_fails);
    Ok(Options {
        os,
        boot: arguments.disk.map(|disk| Boot { disk, active, succeeds }),
        settings: arguments.settings.map(read).transpose()?.unwrap_or_default(),
        datastore: arguments.datastore,
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

fn bank(name: &str) -> Result<Bank, &'static str> {
    match name {
        "A" => Ok(Bank::A),
        "B" => Ok(Bank::B),
        _ => Err("it is A or B"),
    }
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
