//! Wiring only: makes every part and connects them, in the order in which data flows.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::util::TryInitError;

use crate::clients::http;
use crate::config::update::UpdateMode;
use crate::config::{self, Settings};
use crate::dataplane::netns::Netns;
use crate::dataplane::{self, DataplaneConfig, conntrack};
use crate::health::{Health, passive};
use crate::mesh;
use crate::model::View;
use crate::names::dns::ResolverState;
use crate::names::{dns, served};
use crate::registry::local::Local;
use crate::registry::{Registry, RegistryOutputs};
use crate::sources::docker::Docker;
use crate::sources::ecs::Ecs;
use crate::sources::host::{HostSetupError, HostWatch};
use crate::sources::resolv_conf::ResolvConf;
use crate::telemetry::admin::{Admin, Api};
use crate::telemetry::inputs::{Sources, TelemetryInputs};
use crate::telemetry::metrics::traffic::Traffic;
use crate::telemetry::metrics::{self, Handles};
use crate::telemetry::{self, admin};
use crate::update::{self, drain, verify};

/// The host's resolv.conf, as a host container sees it.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The network namespace of the host, which a host container is in.
const HOST_NETNS: &str = "/proc/self/ns/net";
/// What parts that have something to finish are given for it.
const GRACE: Duration = Duration::from_millis(250);

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
    /// The kernel's tables.
    #[error("cannot program the kernel; run meshdog doctor")]
    Dataplane(#[from] dataplane::Error),
    /// Signals.
    #[error("cannot listen for signals")]
    Signal(#[source] io::Error),
    /// A part ended though nobody told it to.
    #[error("{0} ended; the host restarts the agent, and the kernel goes on balancing")]
    Ended(&'static str),
    /// A part panicked.
    #[error("a part of the agent panicked; the host restarts the agent, and the kernel goes on balancing")]
    Panicked(#[from] JoinError),
}

/// Runs the agent until SIGTERM or SIGINT. What is in the kernel stays there.
///
/// # Errors
/// When a part cannot start, or ends by itself.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let settings = Arc::new(settings);
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let mut part = |name: &'static str, work: Part| parts.spawn(named(name, work));

    // What runs here, and who we are.
    let host = HostWatch::new(settings.node.clone(), &settings.paths)?;
    let (node, host_api) = (host.node(), host.source());
    let url = settings.paths.ecs_introspection.clone();
    let (ecs, ecs_source) = Ecs::new(url.clone()).map_err(|source| Error::Ecs { url, source })?;
    let resolv_conf = ResolvConf::new(Path::new(RESOLV_CONF), settings.mesh.vip_ranges);
    let resolvers = resolv_conf.servers();
    let (docker, containers, docker_source) = Docker::new(settings.paths.docker_socket.clone(), ecs.clone());

    // How it is doing, and who else is there.
    let (health, own, offered) = Health::new(containers.clone(), Arc::clone(&settings), node.clone());
    // Only an update ever takes endpoints back.
    let withholds = settings.update.mode != UpdateMode::Off;
    let (published, withheld) = watch::channel(None);
    let offer = if withholds { withheld } else { own.clone() };
    let RegistryOutputs { catalog, source: registry, task: registry_task } = match settings.registry {
        config::RegistryKind::Local => Local.start(offer),
    };

    // What is wanted.
    let (ejections, ejected) = watch::channel(Default::default());
    let (desired_out, desired) = watch::channel(None);
    let (rulesets_out, rulesets) = watch::channel(None);
    let inputs = mesh::task::MeshInputs {
        catalog: catalog.clone(),
        ejections: ejected,
        node: node.clone(),
        containers: containers.clone(),
        resolvers: resolvers.clone(),
    };
    let outputs = mesh::task::MeshOutputs { desired: desired_out, rulesets: rulesets_out };
    let mesh = mesh::task::run(settings.mesh.clone(), settings.paths.state_dir.clone(), inputs, outputs, stop.clone());

    // What people see. Bound before the kernel is touched: a second agent ends here.
    let admin = Admin::bind(&settings.paths.admin_socket).await?;
    let handles = Handles::default();

    // The kernel.
    // No container is offered over IPv6 yet: a table for it would only make the kernel track what it does not now.
    let vip_ranges = settings.mesh.vip_ranges.only_v4();
    let kernel = DataplaneConfig { vip_ranges, capture: settings.dns.capture, metrics: handles.dataplane.clone() };
    let host_netns = Netns::open(Path::new(HOST_NETNS)).map_err(dataplane::Error::from)?;
    let (_namespaces, namespaces) = watch::channel([(host_netns.id(), (host_netns, View::Node))].into());
    let (tables, dataplane) = dataplane::start(kernel, rulesets, namespaces).await?;
    let (flows_out, flows) = mpsc::channel(conntrack::WAITING_EVENTS);
    let mut traffic = Traffic::new(desired.clone(), handles.traffic.clone());
    let passive = passive::run(flows, catalog.clone(), ejections, move |seen| traffic.observe(seen));

    // Names.
    let (names_out, names) = watch::channel(None);
    let dns_at = SocketAddr::new(vip_ranges.v4().resolver(), dataplane::RESOLVER_PORT);
    let dns_config = dns::ResolverConfig {
        listen: dns_at,
        upstream: settings.dns.upstream.clone(),
        vips: settings.mesh.vip_ranges,
        mark: Some(dataplane::AGENT_MARK),
    };
    let resolver_state = if settings.dns.capture { ResolverState::Starting } else { ResolverState::Off };
    let (resolver_out, resolver_state) = watch::channel(resolver_state);
    let resolver = dns::run(dns_config, names, dataplane.clone(), handles.dns.clone(), resolver_out, resolvers);

    // The node's own update: it judges by what health finds, and takes endpoints out before others see them.
    let seen = verify::Inputs {
        host_api: host_api.clone(),
        docker: docker_source.clone(),
        dataplane: dataplane.state(),
        desired: desired.clone(),
        own: own.clone(),
    };
    let self_query = settings.dns.capture.then(|| dns::SelfQuery::new(dns_at, Some(dataplane::AGENT_MARK)));
    let (update, update_handle, standing) = update::Task::new(&settings, node.clone(), self_query, seen);

    let inputs = TelemetryInputs {
        node,
        sources: Sources { docker: docker_source, host_api, registry, ecs: ecs_source },
        containers,
        offered,
        catalog,
        desired: desired.clone(),
        dataplane: dataplane.state(),
        resolver: resolver_state,
        update: update_handle.state.clone(),
    };
    let handles = Handles { update: update_handle.metrics.clone(), ..handles };
    let registry = metrics::registry(&inputs, &handles);
    let api = Arc::new(Api::new(inputs, handles.traffic.clone(), registry, update_handle));

    part("the host watch", Box::pin(host.run()));
    part("the ECS watch", Box::pin(ecs.run()));
    part("the Docker watch", Box::pin(docker.run()));
    part("health", Box::pin(health.run()));
    if withholds {
        part("drain", Box::pin(drain::follow(own, standing, published)));
    }
    part("the registry", registry_task);
    part("the mesh", Box::pin(mesh));
    part("the data plane", Box::pin(tables.run(stop.clone())));
    part("flow events", Box::pin(conntrack::follow(vip_ranges, flows_out)));
    part("passive health", Box::pin(passive));
    part("names", Box::pin(served::follow(desired, dataplane.state(), names_out)));
    if settings.dns.capture {
        part("the host's name servers", Box::pin(resolv_conf.run()));
        part("the resolver", Box::pin(resolver));
    }
    part("the update", Box::pin(update.run(stop.clone())));
    part("telemetry", Box::pin(telemetry::run(admin, settings.telemetry.metrics, api, stop.clone())));
    info!(version = env!("CARGO_PKG_VERSION"), namespace = %settings.mesh.namespace, "started");

    let ended = supervise(&mut parts).await;
    // Queries that were captured just before are still answered, the VIPs written, the admin socket unlinked.
    stop.cancel();
    tokio::time::sleep(GRACE).await;
    info!("stopped; the kernel goes on balancing");
    ended
}

type Part = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn named(name: &'static str, work: Part) -> &'static str {
    work.await;
    name
}

/// Waits for a signal to stop, or for a part to end.
async fn supervise(parts: &mut JoinSet<&'static str>) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = parts.join_next() => Err(Error::Ended(ended?)),
    }
}

impl dns::Lease for dataplane::Handle {
    type Error = dataplane::Error;

    async fn renew(&mut self) -> Result<(), dataplane::Error> {
        self.renew_lease().await
    }
}
