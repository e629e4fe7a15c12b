//! Wiring only: makes every part from its configuration and its inputs, and hands its outputs on, in the order in which
//! data flows. `parts` runs them, and stops them in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::util::TryInitError;

use self::parts::{PartError, Parts, Stage};
use crate::clients::http;
use crate::config::update::UpdateMode;
use crate::config::{self, Settings};
use crate::dataplane::conntrack::{Census, accounting};
use crate::dataplane::netns::Netns;
use crate::dataplane::vantages::{self, Vantages};
use crate::dataplane::{self, DataplaneConfig, conntrack};
use crate::health::{Health, passive, roads};
use crate::mesh;
use crate::mesh::range::{self, RangeError};
use crate::model::{
    CapturedServers, ClosedRoads, Containers, Desired, Ejections, Endpoints, FlowEvent, Node, Offered, QueryPath,
    RESOLVER_PORT, Rulesets, Source, View, VipRanges, error_chain,
};
use crate::names::dns::ResolverState;
use crate::names::hosts::{HostsConfig, HostsInputs, HostsState};
use crate::names::served::{self, Served};
use crate::names::{dns, hosts};
use crate::registry::local::Local;
use crate::registry::{Registry, RegistryOutputs};
use crate::sources::docker::{Docker, DockerConfig};
use crate::sources::ecs::Ecs;
use crate::sources::host::{HostSetupError, HostWatch};
use crate::sources::resolv_conf::ResolvConf;
use crate::telemetry::admin::{Admin, Api};
use crate::telemetry::inputs::{Sources, TelemetryInputs};
use crate::telemetry::metrics::traffic::Traffic;
use crate::telemetry::metrics::{self, Handles};
use crate::telemetry::{self, admin};
use crate::update::{self, drain, verify};

mod parts;

/// The host's resolv.conf, as a host container sees it.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved says which servers it asks: of a process of the host, and of a host container.
const BEHIND_STUB: [&str; 2] =
    ["/.bottlerocket/rootfs/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// The network namespace of the host, which a host container is in.
const HOST_NETNS: &str = "/proc/self/ns/net";

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging.
    #[error("cannot set up logging")]
    Log(#[source] TryInitError),
    /// The host's API or the metadata service.
    #[error(transparent)]
    Host(#[from] HostSetupError),
    /// The introspection API of the ECS agent.
    #[error("cannot make a client for the ECS agent at {url}; check paths.ecs_introspection")]
    Ecs {
        /// Where it was to be asked.
        url: url::Url,
        /// What is wrong.
        source: http::Error,
    },
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    /// The range of VIPs.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The kernel's tables.
    #[error("cannot program the kernel; run meshdog doctor")]
    Dataplane(#[from] dataplane::Error),
    /// A part ended by itself.
    #[error(transparent)]
    Part(#[from] PartError),
}

/// Runs the agent until SIGTERM or SIGINT. What is in the kernel stays there.
///
/// # Errors
/// When a part cannot start, or ends by itself.
pub async fn run(mut settings: Settings) -> Result<(), Error> {
    settings.mesh.vip_ranges = range::settle(&settings.mesh, &settings.paths).await?;
    let settings = Arc::new(settings);
    let mut parts = Parts::default();
    let handles = Handles { census: Census::new(programmed(&settings)), ..Handles::default() };

    let sources = sources(&mut parts, &settings, &handles)?;
    let mut endpoints = endpoints(&mut parts, &settings, &sources);
    let mesh = mesh(&mut parts, &settings, &sources, &endpoints);
    // Bound before the kernel is touched: a second agent ends here.
    let admin = Admin::bind(&settings.paths.admin_socket).await?;
    let dataplane = dataplane(&mut parts, &settings, &mesh, &handles).await?;
    let NameOutputs { resolver, hosts } = names(&mut parts, &settings, &sources, &mesh, &dataplane, &handles);
    let state_dir = settings.paths.state_dir.clone();
    passive_health(&mut parts, state_dir, &sources, &endpoints, &mesh, dataplane.flows, &handles);
    let update = update(&mut parts, &settings, &sources, &mut endpoints, &mesh, &dataplane.handle, resolver.query);
    let inputs = TelemetryInputs {
        node: sources.node,
        sources: Sources {
            docker: sources.docker,
            host_api: sources.host_api,
            registry: endpoints.registry,
            ecs: sources.ecs,
        },
        containers: sources.containers,
        offered: endpoints.offered,
        catalog: endpoints.catalog,
        desired: mesh.desired,
        dataplane: dataplane.handle.state(),
        closed_roads: mesh.closed_roads.subscribe(),
        resolver: resolver.state,
        name_servers: sources.name_servers,
        hosts,
        update: update.state.clone(),
    };
    telemetry(&mut parts, &settings, admin, inputs, handles, update);

    info!(version = env!("CARGO_PKG_VERSION"), namespace = %settings.mesh.namespace, "started");
    let ended = parts.run().await;
    info!("stopped; the kernel goes on balancing");
    Ok(ended?)
}

/// What runs here, and who we are.
struct SourceOutputs {
    node: watch::Receiver<Option<Node>>,
    host_api: watch::Receiver<Source>,
    containers: watch::Receiver<Option<Containers>>,
    docker: watch::Receiver<Source>,
    ecs: watch::Receiver<Source>,
    name_servers: watch::Receiver<CapturedServers>,
}

fn sources(parts: &mut Parts, settings: &Settings, handles: &Handles) -> Result<SourceOutputs, Error> {
    let host = HostWatch::new(settings.node.clone(), &settings.paths)?;
    let (node, host_api) = (host.node(), host.source());
    let url = settings.paths.ecs_introspection.clone();
    let (ecs, ecs_source) = Ecs::new(url.clone()).map_err(|source| Error::Ecs { url, source })?;
    let config = DockerConfig {
        socket: settings.paths.docker_socket.clone(),
        image_labels: settings.mesh.image_labels,
        metrics: handles.docker.clone(),
    };
    let (docker, containers, docker_source) = Docker::new(config, ecs.clone());
    let resolv_conf =
        ResolvConf::new(Path::new(RESOLV_CONF), &BEHIND_STUB, settings.mesh.vip_ranges, settings.dns.host);
    let name_servers = resolv_conf.servers();
    parts.add_until_stopped(Stage::Rest, "the host watch", host.run());
    parts.add_until_stopped(Stage::Rest, "the ECS watch", ecs.run());
    parts.add_until_stopped(Stage::Rest, "the Docker watch", docker.run());
    if settings.dns.capture {
        parts.add_until_stopped(Stage::Rest, "the host's name servers", resolv_conf.run());
    }
    Ok(SourceOutputs { node, host_api, containers, docker: docker_source, ecs: ecs_source, name_servers })
}

/// How this node's endpoints are doing, and who else is there.
struct EndpointOutputs {
    own: watch::Receiver<Option<Endpoints>>,
    offered: watch::Receiver<Offered>,
    catalog: watch::Receiver<Option<Endpoints>>,
    registry: watch::Receiver<Source>,
    /// Where an update publishes them as it lets others see them; none where there are no updates.
    withheld: Option<watch::Sender<Option<Endpoints>>>,
}

fn endpoints(parts: &mut Parts, settings: &Arc<Settings>, sources: &SourceOutputs) -> EndpointOutputs {
    let (health, own, offered) = Health::new(sources.containers.clone(), Arc::clone(settings), sources.node.clone());
    parts.add(Stage::Rest, "health", |stop| health.run(stop));
    // Only an update ever takes endpoints back.
    let (withheld, offer) = match settings.update.mode {
        UpdateMode::Off => (None, own.clone()),
        UpdateMode::Check | UpdateMode::Automatic => {
            let (withheld, offer) = watch::channel(None);
            (Some(withheld), offer)
        }
    };
    let RegistryOutputs { catalog, source: registry, task } = match settings.registry {
        config::RegistryKind::Local => Local.start(offer),
    };
    parts.add_until_stopped(Stage::Rest, "the registry", task);
    EndpointOutputs { own, offered, catalog, registry, withheld }
}

/// What is wanted.
struct MeshOutputs {
    desired: watch::Receiver<Option<Arc<Desired>>>,
    rulesets: watch::Receiver<Option<Rulesets>>,
    ejections: watch::Sender<Ejections>,
    closed_roads: watch::Sender<ClosedRoads>,
}

fn mesh(parts: &mut Parts, settings: &Settings, sources: &SourceOutputs, endpoints: &EndpointOutputs) -> MeshOutputs {
    let (ejections, ejected) = watch::channel(Ejections::default());
    let (closed_roads, closed) = watch::channel(ClosedRoads::default());
    let (desired_out, desired) = watch::channel(None);
    let (rulesets_out, rulesets) = watch::channel(None);
    let inputs = mesh::task::MeshInputs {
        catalog: endpoints.catalog.clone(),
        ejections: ejected,
        node: sources.node.clone(),
        containers: sources.containers.clone(),
        closed_roads: closed,
        resolvers: sources.name_servers.clone(),
    };
    let outputs = mesh::task::MeshOutputs { desired: desired_out, rulesets: rulesets_out };
    let (mesh, state_dir) = (settings.mesh.clone(), settings.paths.state_dir.clone());
    parts.add(Stage::Rest, "the mesh", |stop| mesh::task::run(mesh, state_dir, inputs, outputs, stop));
    MeshOutputs { desired, rulesets, ejections, closed_roads }
}

/// The kernel, and what it tells of connections.
struct DataplaneOutputs {
    handle: dataplane::Handle,
    flows: mpsc::Receiver<FlowEvent>,
    /// Where the agent stands to try what clients do.
    vantages: watch::Receiver<Option<Vantages>>,
}

async fn dataplane(
    parts: &mut Parts,
    settings: &Settings,
    mesh: &MeshOutputs,
    handles: &Handles,
) -> Result<DataplaneOutputs, Error> {
    let vip_ranges = programmed(settings);
    let config = DataplaneConfig { vip_ranges, capture: settings.dns.capture, metrics: handles.dataplane.clone() };
    let host = Netns::open(Path::new(HOST_NETNS)).map_err(dataplane::Error::from)?;
    // The host's is the only one that has clients.
    let (_, namespaces) = watch::channel([(host.id(), (host, View::Node))].into());
    let (dataplane, handle) = dataplane::start(config, mesh.rulesets.clone(), namespaces).await?;
    count_bytes(&settings.paths.state_dir);
    let (flows_out, flows) = mpsc::channel(conntrack::WAITING_EVENTS);
    parts.add(Stage::Capture, "the data plane", |stop| dataplane.run(stop));
    parts.add_until_stopped(Stage::Rest, "flow events", conntrack::follow(vip_ranges, flows_out));
    let (vantages_out, vantages) = watch::channel(None);
    let keep = |rulesets| move |stop| keep_vantages(rulesets, vantages_out, stop);
    parts.add(Stage::Capture, "the vantages", keep(mesh.rulesets.clone()));
    let roads = roads::follow(vantages.clone(), handle.state(), mesh.closed_roads.clone());
    parts.add_until_stopped(Stage::Rest, "roads between networks", roads);
    Ok(DataplaneOutputs { handle, flows, vantages })
}

/// Without them nothing is captured, which is told; all else goes on.
async fn keep_vantages(
    rulesets: watch::Receiver<Option<Rulesets>>,
    vantages: watch::Sender<Option<Vantages>>,
    stop: CancellationToken,
) {
    if let Err(error) = vantages::keep(rulesets, vantages, stop.clone()).await {
        warn!(error = %error_chain(&error), "the agent cannot try what containers do: their DNS queries go to their own \
            name servers");
    }
    stop.cancelled().await;
}

fn count_bytes(state_dir: &Path) {
    match accounting::turn_on(Path::new(accounting::SWITCH), &state_dir.join(accounting::MARK)) {
        Ok(true) => info!("connection tracking counts bytes from now on; meshdog uninstall ends that"),
        Ok(false) => {}
        Err(error) => warn!(%error, "bytes_total stays 0: sysctl net.netfilter.nf_conntrack_acct=1 cannot be set"),
    }
}

/// The ranges that have tables. No container is offered over IPv6 yet: a table for it would only make the kernel track
/// what it does not track without.
fn programmed(settings: &Settings) -> VipRanges {
    settings.mesh.vip_ranges.only_v4()
}

fn passive_health(
    parts: &mut Parts,
    state_dir: PathBuf,
    sources: &SourceOutputs,
    endpoints: &EndpointOutputs,
    mesh: &MeshOutputs,
    flows: mpsc::Receiver<FlowEvent>,
    handles: &Handles,
) {
    let mut traffic = Traffic::new(mesh.desired.clone(), handles.traffic.clone());
    let observe = move |observation: passive::Observation<'_>| traffic.observe(observation);
    let inputs = passive::PassiveInputs {
        flows,
        catalog: endpoints.catalog.clone(),
        containers: sources.containers.clone(),
        node: sources.node.clone(),
        state_dir,
    };
    let ejections = mesh.ejections.clone();
    parts.add(Stage::Rest, "passive health", |stop| passive::run(inputs, ejections, observe, stop));
}

/// How clients find services.
struct NameOutputs {
    resolver: Resolver,
    hosts: watch::Receiver<HostsState>,
}

/// The agent's own resolver.
struct Resolver {
    state: watch::Receiver<ResolverState>,
    /// How the agent asks it; none where there is none.
    query: Option<dns::SelfQuery>,
}

fn names(
    parts: &mut Parts,
    settings: &Settings,
    sources: &SourceOutputs,
    mesh: &MeshOutputs,
    dataplane: &DataplaneOutputs,
    handles: &Handles,
) -> NameOutputs {
    let (served_out, served) = watch::channel(None);
    let follow = served::follow(mesh.desired.clone(), dataplane.handle.state(), served_out);
    parts.add_until_stopped(Stage::Rest, "names", follow);
    let hosts = hosts(parts, settings, sources, served.clone(), handles);
    NameOutputs { resolver: resolver(parts, settings, sources, served, dataplane, handles), hosts }
}

fn hosts(
    parts: &mut Parts,
    settings: &Settings,
    sources: &SourceOutputs,
    served: watch::Receiver<Option<Served>>,
    handles: &Handles,
) -> watch::Receiver<HostsState> {
    let config = HostsConfig {
        enabled: settings.dns.hosts,
        root: settings.paths.docker_root.clone(),
        namespace: settings.mesh.namespace.clone(),
        metrics: handles.hosts.clone(),
    };
    let inputs = HostsInputs { served, containers: sources.containers.clone(), docker: sources.docker.clone() };
    let (state_out, state) = watch::channel(HostsState::default());
    parts.add(Stage::Rest, "hosts files", |stop| hosts::run(config, inputs, state_out, stop));
    state
}

fn resolver(
    parts: &mut Parts,
    settings: &Settings,
    sources: &SourceOutputs,
    served: watch::Receiver<Option<Served>>,
    dataplane: &DataplaneOutputs,
    handles: &Handles,
) -> Resolver {
    if !settings.dns.capture {
        return Resolver { state: watch::channel(ResolverState::Off).1, query: None };
    }
    let listen = SocketAddr::new(programmed(settings).v4().resolver(), RESOLVER_PORT);
    let config = dns::ResolverConfig {
        listen,
        host: settings.dns.host,
        upstream: settings.dns.upstream.clone(),
        zones: dns::Zones::new(settings.mesh.dialled(), settings.dns.authoritative, settings.mesh.vip_ranges),
        mark: Some(dataplane::AGENT_MARK),
    };
    let (state_out, state) = watch::channel(ResolverState::Starting);
    let inputs = dns::ResolverInputs {
        served,
        servers: sources.name_servers.clone(),
        containers: sources.containers.clone(),
        vantages: dataplane.vantages.clone(),
    };
    let (lease, metrics) = (dataplane.handle.clone(), handles.dns.clone());
    parts.add(Stage::Answers, "the resolver", |stop| dns::run(config, inputs, lease, metrics, state_out, stop));
    Resolver { state, query: Some(dns::SelfQuery::new(listen, Some(dataplane::AGENT_MARK))) }
}

/// The node's own update: it judges by what health finds, and takes endpoints out before others see them.
fn update(
    parts: &mut Parts,
    settings: &Settings,
    sources: &SourceOutputs,
    endpoints: &mut EndpointOutputs,
    mesh: &MeshOutputs,
    dataplane: &dataplane::Handle,
    resolver: Option<dns::SelfQuery>,
) -> update::Handle {
    let inputs = verify::Inputs {
        host_api: sources.host_api.clone(),
        docker: sources.docker.clone(),
        dataplane: dataplane.state(),
        desired: mesh.desired.clone(),
        own: endpoints.own.clone(),
    };
    let (update, handle, availability) = update::Task::new(settings, sources.node.clone(), resolver, inputs);
    if let Some(withheld) = endpoints.withheld.take() {
        let drain = drain::follow(endpoints.own.clone(), availability, withheld);
        parts.add_until_stopped(Stage::Rest, "drain", drain);
    }
    parts.add(Stage::Rest, "the update", |stop| update.run(stop));
    handle
}

/// What people see.
fn telemetry(
    parts: &mut Parts,
    settings: &Settings,
    admin: Admin,
    inputs: TelemetryInputs,
    handles: Handles,
    update: update::Handle,
) {
    let handles = Handles { update: update.metrics.clone(), ..handles };
    let registry = metrics::registry(&inputs, &handles);
    let api = Arc::new(Api::new(inputs, handles.traffic, registry, update));
    let port = settings.telemetry.metrics;
    parts.add(Stage::Rest, "telemetry", |stop| telemetry::run(admin, port, api, stop));
}

impl dns::Lease for dataplane::Handle {
    type Error = dataplane::Error;

    async fn renew(&mut self, paths: Arc<[QueryPath]>) -> Result<(), dataplane::Error> {
        self.renew_leases(paths).await
    }
}
