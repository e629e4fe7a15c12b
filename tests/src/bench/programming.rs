//! How long it takes to make the kernel hold many services, and to change one endpoint of them.
//!
//! meshdog's time has two parts, measured apart: from the catalog to the desired state, and from there to the kernel.
//! The same services in iptables chains, loaded with iptables' own program, stand beside it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use meshdog::config::{BackendKind, Locality, MeshSettings};
use meshdog::mesh::vip::Remembered;
use meshdog::mesh::{Mesh, MeshSnapshot};
use meshdog::model::{
    Alias, AppProtocol, DualStack, Endpoint, EndpointAddresses, EndpointId, EndpointState, Endpoints, IfName,
    ServiceId, SocketAddrs, VipRanges, Weight,
};

use super::Settings;
use super::netns::Netns;
use super::programmed::Programmed;
use super::report::{Figure, Report};
use super::services::Services;
use super::stats::median;
use super::world::{BRIDGE, IPTABLES_RESTORE};

const SERVICES: u32 = 5_000;
const REPLICAS: u32 = 4;
/// How often everything is programmed anew.
const TIMES: usize = 3;
/// Milliseconds (ARCHITECTURE.md, "Budgets").
const BUDGET_FIRST: f64 = 200.0;
const BUDGET_CHANGE: f64 = 1.0;

const FIRST: &str = "first programming of 5,000 services x 4 endpoints";
const CHANGE: &str = "one change among 5,000 services x 4 endpoints";

/// Measures both.
pub(crate) fn measure(settings: &Settings, report: &mut Report) -> Result<()> {
    let (mut first, mut change) = (Times::default(), Times::default());
    let (mut chains_first, mut chains_change) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        meshdog(settings.changes.div_ceil(TIMES), &mut first, &mut change)?;
        iptables(settings.changes.div_ceil(TIMES * 5), &mut chains_first, &mut chains_change)?;
    }
    for (figure, times, budget, chains) in
        [(FIRST, first, BUDGET_FIRST, chains_first), (CHANGE, change, BUDGET_CHANGE, chains_change)]
    {
        let chains = median(chains.iter().map(|time| millis(*time)));
        let part = |part: fn(&(Duration, Duration)) -> Duration| median(times.0.iter().map(|time| millis(part(time))));
        let whole = part(|(desired, kernel)| *desired + *kernel);
        let figures = [
            Figure::new(figure, "meshdog", whole, "ms").ratio("iptables", whole / chains).at_most(whole, budget),
            Figure::new(figure, "meshdog: desired state", part(|(desired, _)| *desired), "ms"),
            Figure::new(figure, "meshdog: kernel", part(|(_, kernel)| *kernel), "ms"),
            Figure::new(figure, "iptables", chains, "ms"),
        ];
        figures.into_iter().try_for_each(|figure| report.add(figure))?;
    }
    Ok(())
}

/// Times to the desired state, and from there to the kernel.
#[derive(Debug, Default)]
struct Times(Vec<(Duration, Duration)>);

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Programs everything in a fresh namespace, then takes endpoints of one service after the other away and back.
fn meshdog(changes: usize, first: &mut Times, change: &mut Times) -> Result<()> {
    let netns = Netns::new()?;
    let mut programmed = Programmed::start(&netns)?;
    let mut mesh = Mesh::new(settings()?, &Remembered::default());
    let mut inputs = MeshSnapshot {
        catalog: catalog()?,
        bridges: [IfName::new(BRIDGE).context("the bridge's name")?].into_iter().collect(),
        ..MeshSnapshot::default()
    };
    let mut step = |inputs: &MeshSnapshot| {
        let inputs = inputs.clone();
        let begun = Instant::now();
        let desired = mesh.advance(inputs);
        anyhow::Ok((begun.elapsed(), programmed.apply(desired.rulesets)?))
    };
    first.0.push(step(&inputs)?);
    let stride = (SERVICES * REPLICAS) as usize / changes.max(1);
    let endpoints: Vec<_> = inputs.catalog.values().step_by(stride).cloned().collect();
    for endpoint in endpoints {
        for state in [EndpointState::Draining, EndpointState::Healthy] {
            let changed = Endpoint { state, ..Endpoint::clone(&endpoint) };
            inputs.catalog.insert(changed.key(), Arc::new(changed));
            change.0.push(step(&inputs)?);
        }
    }
    Ok(())
}

fn iptables(changes: usize, first: &mut Vec<Duration>, change: &mut Vec<Duration>) -> Result<()> {
    let netns = Netns::new()?;
    let services = Services::new(SERVICES);
    let (all, one) = (services.iptables()?, services.iptables_change());
    let timed = |text: &str| {
        let begun = Instant::now();
        netns.feed(Command::new(IPTABLES_RESTORE).arg("--noflush"), text)?;
        anyhow::Ok(begun.elapsed())
    };
    first.push(timed(&all)?);
    for _ in 0..changes {
        change.push(timed(&one)?);
    }
    Ok(())
}

fn settings() -> Result<MeshSettings> {
    Ok(MeshSettings {
        namespace: "prod".parse()?,
        import: Vec::new(),
        vip_ranges: VipRanges::new(Services::vip_cidr()?, None).context("an IPv4 range")?,
        backend: BackendKind::Auto,
        locality: Locality::PreferZone,
        image_labels: false,
        alias_allow: Vec::new(),
    })
}

/// As many services as are programmed, each with its endpoints, all healthy.
fn catalog() -> Result<Endpoints> {
    let port = 8080.try_into()?;
    let mut catalog = Endpoints::new();
    for service in 0..SERVICES {
        let id = ServiceId { namespace: "prod".parse()?, name: format!("service-{service}").parse()? };
        let aliases: Arc<[Alias]> = [Alias { name: id.qualified()?, port }].into();
        for replica in 0..REPLICAS {
            let nth = service * REPLICAS + replica;
            let container = format!("{nth:064x}");
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + nth);
            let endpoint = Endpoint {
                service: id.clone(),
                // Container ids are random from their first digit on.
                id: EndpointId::new(&format!("{nth:012x}"), port, AppProtocol::Tcp.l4()),
                addresses: EndpointAddresses::Remote { published: SocketAddrs { ip: DualStack::V4(address), port } },
                protocol: AppProtocol::Tcp,
                aliases: Arc::clone(&aliases),
                weight: Weight::default(),
                node: "elsewhere".into(),
                zone: None,
                task: container.as_str().into(),
                container: container.as_str().into(),
                started_ms: u64::from(nth),
                state: EndpointState::Healthy,
                last_resort: false,
                reason: "".into(),
            };
            catalog.insert(endpoint.key(), Arc::new(endpoint));
        }
    }
    Ok(catalog)
}
