//! `meshdog doctor`: what the agent needs of this host, whether it is there, and what to change where it is not.
//!
//! Looks only: nothing is left behind on the host or in its kernel.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::statvfs::statvfs;
use procfs::net::RouteEntry;
use procfs::process::Process;
use tokio::net::UnixStream;
use tokio::time::timeout;

use self::check::{CONNECT, DoctorCheck};
use super::client;
use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on;
use super::output::Output;
use super::text::{paragraph, table};
use crate::config::{Auto, Settings};
use crate::dataplane::conntrack::accounting;
use crate::dataplane::{self, Capability};
use crate::mesh::range;
use crate::model::{VipCidr, error_chain};
use crate::names::hosts;
use crate::sources::{docker, networks};
use crate::telemetry::status::Status;

mod check;
mod clients;
mod updates;

/// Bytes that must be free where state is kept: far more than the agent writes, far less than an update takes.
const FREE: u64 = 16 << 20;
/// No build of this agent is older (2026-01-01T00:00:00Z, in seconds since the Unix epoch).
const EARLIEST: u64 = 1_767_225_600;
/// Capabilities by their bit (linux/capability.h).
const CAPABILITIES: [(u32, &str); 2] = [(12, "NET_ADMIN"), (21, "SYS_ADMIN")];
/// conntrack's event groups, new, updated and destroyed flows, as a bind mask (`NFNLGRP_CONNTRACK_*`,
/// linux/netfilter/nfnetlink_compat.h).
const CONNTRACK_GROUPS: u32 = 0b111;

/// Look whether everything is there that the agent needs, and say what to change
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigFile,
}

impl DoctorArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let mut settings = self.config.load()?;
        settings.mesh.vip_ranges = range::of_this_boot(&settings.mesh, &settings.paths);
        let well = block_on(print(&settings, &kernel(&settings), output.json, output.out))?;
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What the data plane finds of the kernel; the reason, where it cannot even ask.
fn kernel(settings: &Settings) -> Vec<Capability> {
    dataplane::probe(settings.mesh.vip_ranges.v4())
        .unwrap_or_else(|error| vec![Capability { name: "nftables", ok: false, why: error_chain(&error) }])
}

/// Looks at everything and prints what was found. `kernel` is what the dataplane's probe found. False when something is
/// missing that the mesh cannot do without.
async fn print(settings: &Settings, kernel: &[Capability], json: bool, out: &mut dyn Write) -> io::Result<bool> {
    let checks = look(settings, kernel).await;
    let well = checks.iter().all(|check| check.ok || !check.needed);
    if json {
        serde_json::to_writer_pretty(&mut *out, &serde_json::json!({ "ok": well, "checks": checks }))?;
        writeln!(out)?;
    } else {
        out.write_all(render(&checks, well).as_bytes())?;
    }
    Ok(well)
}

async fn look(settings: &Settings, kernel: &[Capability]) -> Vec<DoctorCheck> {
    let paths = &settings.paths;
    let superpowered = "run meshdog as a superpowered host container, or correct [paths] in its configuration";
    let mut checks = vec![
        DoctorCheck::new("host API", connects(&paths.api_socket).await, superpowered),
        DoctorCheck::new("Docker", connects(&paths.docker_socket).await, superpowered),
        DoctorCheck::new(
            "admin socket",
            writable(paths.admin_socket.parent().unwrap_or(Path::new("."))),
            "make the directory writable, or set paths.admin_socket",
        ),
        DoctorCheck::new(
            "state",
            writable(&paths.state_dir),
            "make the directory writable, or set paths.state_dir; no update is started without",
        )
        .wanted(),
        DoctorCheck::new("disk", free(&paths.state_dir), "make room on that file system; no update is started without")
            .wanted(),
        DoctorCheck::new(
            "hosts files",
            hosts_files(settings).await,
            "give meshdog the host's processes (superpowered = true), or set paths.docker_root; or dns.hosts = false",
        )
        .wanted(),
        DoctorCheck::new("clock", clock(SystemTime::now(), built()), "set the clock; on EC2, chrony does").wanted(),
        DoctorCheck::new(
            "capabilities",
            effective().and_then(capabilities),
            "run meshdog as a superpowered host container (superpowered = true), or as root",
        ),
    ];
    checks.extend(network(settings.mesh.vip_ranges.v4()));
    let running = running(&paths.admin_socket).await;
    checks.extend(clients::look(settings, running.as_ref()));
    checks.extend(updates::look(settings).await);
    checks.extend(kernel.iter().map(|capability| {
        let found = if capability.ok { Ok("there".to_owned()) } else { Err(capability.why.clone()) };
        DoctorCheck::new(
            capability.name,
            found,
            "use a kernel that has it, or allow its module in settings.kernel.modules",
        )
    }));
    checks.push(
        DoctorCheck::new(
            "budget",
            budget(running.as_ref()),
            "have fewer services or aliases in containers' labels, or run some elsewhere; meshdog explain CONTAINER names \
             what is left out",
        )
        .wanted(),
    );
    checks
}

/// What the running agent says of itself, or why that cannot be read; nothing where none runs, which is not asked here.
async fn running(admin_socket: &Path) -> Option<Result<Status, String>> {
    let body = client::get(admin_socket, "/status").await.ok()?;
    Some(client::parse(admin_socket, &body).map_err(|error| error_chain(&error)))
}

/// Whether the node has room for all that the labels of its containers ask for.
fn budget(running: Option<&Result<Status, String>>) -> Result<String, String> {
    let Some(status) = running else { return Ok("not asked: no agent runs".to_owned()) };
    let budget = &status.as_ref().map_err(String::clone)?.budget;
    let used = format!("containers' labels use {} names of {}", budget.names, budget.limit);
    match budget.refused {
        0 => Ok(used),
        refused => Err(format!("{used}; {refused} services are left out")),
    }
}

/// What the mesh needs of the host's network.
fn network(vips: VipCidr) -> Vec<DoctorCheck> {
    vec![
        DoctorCheck::new("conntrack events", conntrack_events(), "allow the kernel module nf_conntrack_netlink")
            .wanted(),
        DoctorCheck::new(
            "forwarding",
            forwarding(Path::new("/proc/sys/net/ipv4/ip_forward")),
            "sysctl net.ipv4.ip_forward=1",
        ),
        DoctorCheck::new(
            "route to VIPs",
            procfs::net::route().map_err(|e| e.to_string()).and_then(|all| route(&all, vips)),
            "give the host a default route: its own processes' packets to a VIP need one, to be sent at all",
        )
        .wanted(),
        DoctorCheck::new(
            "bytes",
            counted(Path::new(accounting::SWITCH)),
            "sysctl net.netfilter.nf_conntrack_acct=1; the agent sets it where it may",
        )
        .wanted(),
        DoctorCheck::new("refusals", Ok(refusals(Path::new("/proc/sys/net/ipv4"))), "").wanted(),
        DoctorCheck::new(
            "VIP range",
            holder(vips),
            "set mesh.vip_cidr to a range that nobody holds, and reboot: it counts from the next boot",
        )
        .wanted(),
        DoctorCheck::new("bridge-nf", Ok(bridge_nf(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables"))), "")
            .wanted(),
    ]
}

async fn connects(socket: &Path) -> Result<String, String> {
    match timeout(CONNECT, UnixStream::connect(socket)).await {
        Ok(Ok(_)) => Ok(format!("{} accepts", socket.display())),
        Ok(Err(error)) => Err(format!("{}: {error}", socket.display())),
        Err(_) => Err(format!("{} does not accept within {CONNECT:?}", socket.display())),
    }
}

/// Whether the directory that Docker keeps hosts files in can be seen.
async fn hosts_files(settings: &Settings) -> Result<String, String> {
    if !settings.dns.hosts {
        return Ok("left alone: dns.hosts is false".to_owned());
    }
    let named = match settings.paths.docker_root {
        Auto::Set(_) => None,
        Auto::Auto => Some(docker::root(&settings.paths.docker_socket).await.map_err(|error| error_chain(&error))?),
    };
    let root = hosts::seen(&settings.paths.docker_root, named.as_deref()).unwrap_or_default();
    let containers = root.join("containers");
    match fs::read_dir(&containers) {
        Ok(_) => Ok(format!("{} is there", containers.display())),
        Err(error) => Err(format!("{}: {error}", containers.display())),
    }
}

/// The directory, or where it would be made.
fn existing(directory: &Path) -> &Path {
    directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"))
}

/// Writes, syncs and removes a file.
fn writable(directory: &Path) -> Result<String, String> {
    let directory = existing(directory);
    let file = directory.join(format!(".meshdog-doctor-{}", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).and_then(|mut open| {
        let written = open.write_all(b"meshdog doctor\n").and_then(|()| open.sync_all());
        written.and(fs::remove_file(&file))
    });
    match written {
        Ok(()) => Ok(format!("{} is writable", directory.display())),
        Err(error) => Err(format!("{}: {error}", directory.display())),
    }
}

fn free(directory: &Path) -> Result<String, String> {
    let directory = existing(directory);
    let disk = statvfs(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let bytes = disk.blocks_available().saturating_mul(disk.fragment_size());
    let found = format!("{} MiB free at {}", bytes >> 20, directory.display());
    if bytes >= FREE { Ok(found) } else { Err(found) }
}

/// When this program was put together, as far as its file says so (reproducible images say 1970).
fn built() -> Option<SystemTime> {
    let file: PathBuf = std::env::current_exe().ok()?;
    fs::metadata(file).ok()?.modified().ok()
}

fn clock(now: SystemTime, built: Option<SystemTime>) -> Result<String, String> {
    let earliest = SystemTime::UNIX_EPOCH + Duration::from_secs(EARLIEST);
    let earliest = built.map_or(earliest, |built| built.max(earliest));
    let shown = jiff::Timestamp::try_from(now).map_or_else(|_| "out of range".to_owned(), |now| format!("{now:.0}"));
    if now >= earliest { Ok(shown) } else { Err(format!("{shown}, before this program was built")) }
}

fn effective() -> Result<u64, String> {
    Process::myself()
        .and_then(|process| process.status())
        .map(|status| status.capeff)
        .map_err(|error| error.to_string())
}

fn capabilities(effective: u64) -> Result<String, String> {
    let (held, missing): (Vec<_>, Vec<_>) = CAPABILITIES.into_iter().partition(|(bit, _)| effective >> bit & 1 == 1);
    let names = |list: &[(u32, &'static str)]| list.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    if missing.is_empty() { Ok(names(&held)) } else { Err(format!("without {}", names(&missing))) }
}

fn conntrack_events() -> Result<String, String> {
    let bound =
        Socket::new(NETLINK_NETFILTER).and_then(|mut socket| socket.bind(&SocketAddr::new(0, CONNTRACK_GROUPS)));
    bound.map(|()| "can be listened to".to_owned()).map_err(|error| error.to_string())
}

fn forwarding(switch: &Path) -> Result<String, String> {
    match fs::read_to_string(switch) {
        Ok(value) if value.trim() == "1" => Ok("on".to_owned()),
        Ok(_) => Err("off: bridge containers reach nothing beyond their bridge".to_owned()),
        Err(error) => Err(format!("{}: {error}", switch.display())),
    }
}

/// Whether a packet to every VIP has a route: the packet is redirected only after one was found.
fn route(routes: &[RouteEntry], vips: VipCidr) -> Result<String, String> {
    let covers = |route: &&RouteEntry| {
        let mask = u32::from(route.mask);
        let same = |vip| matches!(vip, IpAddr::V4(vip) if u32::from(vip) & mask == u32::from(route.destination));
        same(vips.net().network()) && same(vips.net().broadcast())
    };
    match routes.iter().filter(covers).max_by_key(|route| u32::from(route.mask).count_ones()) {
        Some(route) => Ok(format!("{vips} leaves by {}", route.iface)),
        None => Err(format!("none leads to {vips}")),
    }
}

/// Whether connection tracking counts bytes.
fn counted(switch: &Path) -> Result<String, String> {
    match fs::read_to_string(switch) {
        Ok(value) if value.trim() == "1" => Ok("connection tracking counts them".to_owned()),
        Ok(_) => Err("connection tracking does not count them: meshdog_bytes_total stays 0".to_owned()),
        Err(error) => Err(format!("{}: {error}", switch.display())),
    }
}

/// Bit of `ICMP_DEST_UNREACH` in `icmp_ratemask` (Documentation/networking/ip-sysctl.rst).
const UNREACHABLE: u32 = 1 << 3;

/// How soon a client hears that nobody serves over UDP: the kernel limits how many messages it sends to one address. For
/// people to know; a TCP connection is refused at once in any case.
fn refusals(sysctls: &Path) -> String {
    let read = |name: &str| fs::read_to_string(sysctls.join(name)).ok()?.trim().parse::<u32>().ok();
    let (every_ms, mask) = (read("icmp_ratelimit").unwrap_or(1000), read("icmp_ratemask").unwrap_or(UNREACHABLE));
    if mask & UNREACHABLE == 0 {
        return "whoever sends UDP to a service that nobody serves is told so each time".to_owned();
    }
    let limit = match every_ms {
        0 => "within the host's limit of ICMP messages in all".to_owned(),
        _ => format!("some six times at once, then once in {every_ms} ms (the kernel's limit)"),
    };
    let lifted = mask & !UNREACHABLE;
    format!(
        "whoever sends UDP to a service that nobody serves is told so {limit}; sysctl net.ipv4.icmp_ratemask={lifted} lifts it"
    )
}

/// Who else on this host holds addresses of the range.
fn holder(vips: VipCidr) -> Result<String, String> {
    let routes = networks::routes().map_err(|error| error.to_string())?;
    match networks::overlapping(vips, &routes) {
        Some(other) => Err(format!("{vips} is not free: {other}")),
        None => Ok(format!("{vips} is routed by nobody else")),
    }
}

/// Whether packets between two containers of one bridge pass the host's IP hooks. For people to know.
fn bridge_nf(switch: &Path) -> String {
    match fs::read_to_string(switch) {
        Ok(value) if value.trim() == "1" => "bridged packets pass the host's IP hooks".to_owned(),
        Ok(_) => {
            "bridged packets do not pass the host's IP hooks: a server on its client's own bridge sees the bridge's \
                  address as the client's"
                .to_owned()
        }
        Err(_) => {
            "br_netfilter is not loaded: a server on its client's own bridge sees the bridge's address as the client's"
                .to_owned()
        }
    }
}

fn render(checks: &[DoctorCheck], well: bool) -> String {
    let mut out = String::new();
    let rows: Vec<_> = checks
        .iter()
        .map(|check| {
            let verdict = match (check.ok, check.needed) {
                (true, _) => "ok",
                (false, true) => "FAIL",
                (false, false) => "warn",
            };
            [verdict.to_owned(), check.name.clone(), check.detail.clone()]
        })
        .collect();
    table(&mut out, 0, &rows);
    let advised: Vec<_> = checks.iter().filter_map(|check| Some((&check.name, check.advice.as_ref()?))).collect();
    if !advised.is_empty() {
        out.push('\n');
    }
    for (name, advice) in advised {
        paragraph(&mut out, &format!("{name}: "), advice);
    }
    if !well {
        out.push_str("\nThe mesh cannot work here as it is.\n");
    }
    out
}

#[cfg(test)]
mod tests;
