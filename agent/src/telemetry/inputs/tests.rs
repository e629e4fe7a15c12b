//! A small mesh for the tests of everything that reads it: `prod/orders` with two endpoints, `prod/gate` over both
//! transports, `shared/orders`, which lost an alias, and two containers.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime};

use super::*;
use crate::model::{
    self, AppProtocol, CapturedServers, Clients, ClosedRoads, Conflict, DesiredEndpoint, DesiredService, DockerHealth,
    DualStack, Endpoint, EndpointAddresses, EndpointId, HostsFile, IfName, L4, LabelFault, Network, Offer, OfferOrigin,
    Offers, QueryPath, ServiceId, SourceState,
};
use crate::names::hosts::FileState;
use crate::telemetry::status::{self, Status};
use crate::update::Handle;
use crate::update::tests::{handle, off};

pub(crate) const WEB: &str = "3f1c0ffee0123456789abcdef0123456789abcdef0123456789abcdef01234567";

/// The sending ends, to change things under a test.
pub(crate) struct Fixture {
    pub(crate) node: watch::Sender<Option<Node>>,
    pub(crate) sources: Sources<watch::Sender<Source>>,
    pub(crate) containers: watch::Sender<Option<Containers>>,
    pub(crate) offered: watch::Sender<Offered>,
    pub(crate) catalog: watch::Sender<Option<Endpoints>>,
    pub(crate) desired: watch::Sender<Option<Arc<Desired>>>,
    pub(crate) dataplane: watch::Sender<DataplaneState>,
    pub(crate) closed_roads: watch::Sender<ClosedRoads>,
    pub(crate) resolver: watch::Sender<ResolverState>,
    pub(crate) name_servers: watch::Sender<CapturedServers>,
    pub(crate) hosts: watch::Sender<HostsState>,
    pub(crate) update: Handle,
}

/// The ways of queries from `docker0`, where nothing is in the way.
fn answered() -> impl Iterator<Item = (QueryPath, Option<Arc<str>>)> {
    let from = IfName::new("docker0").map(Clients::Bridge);
    let of = |from: Clients| [L4::Udp, L4::Tcp].map(|l4| (QueryPath { from: from.clone(), l4 }, None));
    from.into_iter().flat_map(of)
}

impl Fixture {
    /// An agent that has just started.
    pub(crate) fn starting() -> Self {
        let source = || watch::Sender::new(Source { state: SourceState::Starting, since: since() });
        Self {
            node: watch::Sender::new(None),
            sources: Sources { docker: source(), host_api: source(), registry: source(), ecs: source() },
            containers: watch::Sender::new(None),
            offered: watch::Sender::default(),
            catalog: watch::Sender::new(None),
            desired: watch::Sender::default(),
            dataplane: watch::Sender::new(DataplaneState::of_one(|_| ())),
            closed_roads: watch::Sender::default(),
            resolver: watch::Sender::new(ResolverState::Starting),
            name_servers: watch::Sender::default(),
            hosts: watch::Sender::default(),
            update: handle(off()).0,
        }
    }

    /// An agent at work.
    pub(crate) fn working() -> Self {
        let all = Self::starting();
        all.node.send_replace(Some(Node {
            name: "node-a".into(),
            address: [10, 0, 1, 5].into(),
            zone: Some("us-west-2a".into()),
            os_version: Some("1.50.0".into()),
            hosts: Default::default(),
        }));
        for source in [&all.sources.docker, &all.sources.registry] {
            source.send_replace(Source { state: SourceState::Up, since: since() });
        }
        let down = SourceState::Down("connection refused".into());
        all.sources.host_api.send_replace(Source { state: down, since: since() });
        all.sources.ecs.send_replace(Source { state: SourceState::Off, since: since() });
        let (containers, offered) = containers();
        all.containers.send_replace(Some(containers));
        all.offered.send_replace(offered);
        all.catalog.send_replace(Some(Endpoints::new()));
        all.desired.send_replace(Some(Arc::new(desired())));
        all.dataplane.send_replace(DataplaneState::of_one(|state| {
            state.in_sync = true;
            state.last_apply = Some(Duration::from_micros(400));
            state.repairs = 2;
        }));
        let containers = ["10.0.0.2:53".parse().unwrap()].into();
        all.name_servers.send_replace(CapturedServers { containers, host: Default::default() });
        all.resolver.send_replace(ResolverState::Listening { address: resolver(), paths: Some(answered().collect()) });
        let told = FileState::Told { names: 5, own: 0, of: None };
        all.hosts.send_replace(HostsState { files: [(model::ContainerId::from(WEB), told)].into_iter().collect() });
        all
    }

    pub(crate) fn inputs(&self) -> TelemetryInputs {
        TelemetryInputs {
            node: self.node.subscribe(),
            sources: self.sources.map(watch::Sender::subscribe),
            containers: self.containers.subscribe(),
            offered: self.offered.subscribe(),
            catalog: self.catalog.subscribe(),
            desired: self.desired.subscribe(),
            dataplane: self.dataplane.subscribe(),
            closed_roads: self.closed_roads.subscribe(),
            resolver: self.resolver.subscribe(),
            name_servers: self.name_servers.subscribe(),
            hosts: self.hosts.subscribe(),
            update: self.update.state.clone(),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.inputs().snapshot()
    }

    /// The status as it is read back.
    pub(crate) fn status(&self) -> Status {
        serde_json::from_str(&serde_json::to_string(&status::build(&self.snapshot())).unwrap()).unwrap()
    }
}

/// Where the resolver listens.
pub(crate) fn resolver() -> SocketAddr {
    SocketAddr::from(([198, 19, 0, 1], 53))
}

pub(crate) fn since() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_323_045_678_901)
}

pub(crate) fn id(text: &str) -> ServiceId {
    let (namespace, name) = text.split_once('/').unwrap();
    ServiceId { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

fn endpoint(
    service: &str,
    address: &str,
    container: &str,
    state: model::EndpointState,
    reason: &str,
    share: f64,
) -> DesiredEndpoint {
    let protocol = AppProtocol::Tcp;
    DesiredEndpoint {
        endpoint: Arc::new(Endpoint {
            service: id(service),
            id: EndpointId::new(container, NonZeroU16::new(8080).unwrap(), protocol.l4()),
            addresses: EndpointAddresses::on_bridge(address),
            protocol,
            aliases: ["orders:80".parse().unwrap()].into(),
            weight: Default::default(),
            node: "node-a".into(),
            zone: Some("us-west-2a".into()),
            task: "web-1".into(),
            container: container.into(),
            started_ms: 1,
            state: model::EndpointState::Healthy,
            last_resort: false,
            reason: "registered".into(),
        }),
        state,
        reason: reason.into(),
        share,
    }
}

fn service(vip: u8, protocol: AppProtocol, aliases: &[&str], endpoints: Vec<DesiredEndpoint>) -> Arc<DesiredService> {
    Arc::new(DesiredService {
        vips: Some(DualStack::V4([198, 19, 0, vip].into())),
        protocol,
        aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect(),
        slots: endpoints.len(),
        why: endpoints.is_empty().then(|| "it has no endpoints".into()),
        endpoints,
    })
}

fn desired() -> Desired {
    let orders = vec![
        endpoint("prod/orders", "172.17.0.3:8080", WEB, model::EndpointState::Healthy, "probe passed", 1.0),
        endpoint(
            "prod/orders",
            "172.17.0.4:8080",
            "beef",
            model::EndpointState::Ejected,
            "5 connects failed in 30 s",
            0.0,
        ),
    ];
    let gate = |address| vec![endpoint("prod/gate", address, "dead", model::EndpointState::Healthy, "runs", 1.0)];
    let services = [
        (("prod/gate", L4::Tcp), service(8, AppProtocol::Tcp, &["gate:53", "gate.prod:53"], gate("172.17.0.5:53"))),
        (("prod/gate", L4::Udp), service(8, AppProtocol::Udp, &["gate:53"], gate("172.17.0.5:53"))),
        (("prod/orders", L4::Tcp), service(7, AppProtocol::Http, &["orders:80", "orders.prod:80"], orders)),
        (("shared/orders", L4::Tcp), service(9, AppProtocol::Tcp, &["orders.shared:80"], vec![])),
    ];
    let names = [("orders", 7), ("orders.prod", 7), ("gate", 8), ("gate.prod", 8), ("orders.shared", 9)];
    Desired {
        rulesets: Default::default(),
        names: names
            .iter()
            .map(|(name, vip)| (name.parse().unwrap(), DualStack::V4([198, 19, 0, *vip].into())))
            .collect(),
        holders: Default::default(),
        served: Default::default(),
        services: services.into_iter().map(|((name, l4), service)| ((id(name), l4), service)).collect(),
        conflicts: [Conflict {
            alias: "orders:80".parse().unwrap(),
            owner: id("prod/orders"),
            loser: id("shared/orders"),
        }]
        .into(),
    }
}

fn containers() -> (Containers, Offered) {
    let container = |id: &str, name: &str, image: &str, address: [u8; 4]| {
        Arc::new(Container {
            id: id.into(),
            name: name.into(),
            image: image.into(),
            labels: Arc::default(),
            network: Network::Bridge { address: DualStack::V4(address.into()), published: Arc::default() },
            hosts: if id == WEB { HostsFile::Docker(WEB.into()) } else { HostsFile::Users },
            health: DockerHealth::None,
            started_ms: 0,
            stopping: false,
            addresses: Arc::default(),
            baked: Default::default(),
            admitted: usize::MAX,
            bridges: IfName::new("docker0").into_iter().collect(),
            own_dns: false,
            paused: false,
        })
    };
    let web = container(WEB, "web-1", "shop/web:3", [172, 17, 0, 3]);
    let mut cron = container(&"77aa".repeat(16), "cron", "shop/cron:1", [172, 17, 0, 9]);
    Arc::make_mut(&mut cron).own_dns = true;
    let web_endpoint = endpoint("prod/orders", "172.17.0.3:8080", WEB, model::EndpointState::Healthy, "", 0.5);
    let web_offers = Offers {
        endpoints: vec![Offer { endpoint: web_endpoint.endpoint, health: None, origin: OfferOrigin::Labels }],
        faults: vec![LabelFault {
            container: WEB.into(),
            label: "meshdog.orders.weight".into(),
            problem: "weight \"\x1b[2J900\" is out of range; write a number from 1 to 100".into(),
        }],
        ..Offers::default()
    };
    let cron_offers =
        Offers { why_not: Some("it has no meshdog label and no [[service]] rule matches".into()), ..Offers::default() };
    let offered = [(web.id.clone(), web_offers), (cron.id.clone(), cron_offers)];
    let running = [web, cron].into_iter().map(|container| (container.id.clone(), container)).collect();
    let offered = offered.into_iter().map(|(id, offers)| (id, Arc::new(offers))).collect();
    let budget = BudgetUse { names: 3, limit: 8192, refused: 2 };
    (Containers { running, budget, ..Containers::default() }, offered)
}

#[test]
fn readiness_names_each_part_that_has_not_spoken() {
    let all = Fixture::starting();
    assert_eq!(all.snapshot().waiting_for().len(), 5);
    let all = Fixture::working();
    assert_eq!(all.snapshot().waiting_for(), [""; 0]);
    all.containers.send_replace(None);
    all.dataplane.send_modify(|state| state.change(|state| state.in_sync = false));
    assert_eq!(all.snapshot().waiting_for(), ["Docker's first list", "the dataplane"]);
    all.resolver.send_replace(ResolverState::Listening { address: resolver(), paths: None });
    assert_eq!(all.snapshot().waiting_for().last(), Some(&"the resolver"), "containers find no name yet");
    all.resolver.send_replace(ResolverState::Off);
    assert!(!all.snapshot().waiting_for().contains(&"the resolver"));
}
