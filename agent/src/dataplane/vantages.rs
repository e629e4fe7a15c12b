//! Vantages: a network namespace of the agent's own on each of Docker's bridges, from which it tries what the containers
//! there do, by the way that their packets take.
//!
//! Owns these namespaces, their links, and the host's routes to them, which carry a protocol number of their own.
//! Receives which bridge is to have which vantage, emits those that stand. Never touches a bridge's own settings: a link
//! that joins one has its MTU, and an address that is never the lowest.
//!
//! A namespace has no name, so that the kernel takes it and its link away when the agent ends, however it ends. Routes
//! that such an end leaves are removed at the next start.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use imbl::OrdMap;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, MulticastGroup, RouteMessageBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::netns::{Netns, NetnsError};
use crate::model::publish::publish;
use crate::model::{Family, IfName, Rulesets, Vantage, View, error_chain};

/// Of the host's routes to vantages (`rtm_protocol`, rtnetlink(7)): no program that is known to `ip route` has it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(109);
/// Of the link in a vantage's namespace.
const INSIDE: &str = "eth0";
/// What comes of one change is several messages.
const SETTLE: Duration = Duration::from_millis(20);
/// How often vantages are looked at without being told.
const CHECK: Duration = Duration::from_secs(30);

/// A vantage that stands.
#[derive(Debug, Clone)]
pub struct VantagePoint {
    /// Its addresses.
    pub vantage: Vantage,
    /// Where to make sockets: what they send comes from the bridge as containers' packets do.
    pub netns: Netns,
}

/// Each bridge that containers can have on this host, and its vantage, or why it has none, for people. A bridge without
/// an IPv4 address is none of them: nobody there has a way to the host.
pub type Vantages = OrdMap<IfName, Result<VantagePoint, Arc<str>>>;

/// Why a vantage could not be made, or removed.
#[derive(Debug, thiserror::Error)]
pub enum VantageError {
    /// No rtnetlink socket.
    #[error("cannot open an rtnetlink socket")]
    Socket(#[source] io::Error),
    /// Listing links, addresses or routes.
    #[error("cannot list {0}")]
    List(&'static str, #[source] rtnetlink::Error),
    /// The namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Its link, address or route.
    #[error("cannot set up {0} for a vantage; the agent needs CAP_NET_ADMIN, and the kernel veth")]
    SetUp(&'static str, #[source] rtnetlink::Error),
    /// There was no runtime to be had to do so.
    #[error("cannot work in the vantage's network namespace")]
    Inside(#[source] io::Error),
    /// The host's route to it.
    #[error("cannot change the route to vantage {0}")]
    Route(IpAddr, #[source] rtnetlink::Error),
}

/// A bridge as the kernel tells of it.
#[derive(Debug)]
struct Bridge {
    index: u32,
    mtu: u32,
    /// The host's address there: the containers' gateway.
    gateway: Ipv4Addr,
}

/// Keeps a vantage on each bridge that is to have one, until told to stop; then none.
///
/// # Errors
/// Where the kernel does not let itself be asked.
pub async fn keep(
    mut rulesets: watch::Receiver<Option<Rulesets>>,
    vantages: watch::Sender<Option<Vantages>>,
    stop: CancellationToken,
) -> Result<(), VantageError> {
    let (connection, handle, mut events) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(VantageError::Socket)?;
    tokio::spawn(connection);
    let mut keeper = Keeper { handle, standing: BTreeMap::new() };
    keeper.remove_remnants().await?;
    let mut wanted = OrdMap::new();
    let mut due = false;
    loop {
        if due {
            match keeper.bring(&wanted).await {
                Ok(all) => drop(publish(&vantages, Some(all), same)),
                Err(error) => warn!(error = %error_chain(&error), "cannot look at the agent's vantages on bridges"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = rulesets.changed() => {
                if changed.is_err() {
                    break;
                }
                let rulesets = rulesets.borrow_and_update();
                let latest = rulesets.as_ref().and_then(|all| all.get(&View::Node)).map(|node| &node.vantages);
                let known = due;
                due = latest.is_some_and(|latest| !known || *latest != wanted);
                wanted = latest.cloned().unwrap_or_default();
            }
            event = next_of(&mut events, &wanted) => {
                if event.is_none() {
                    break;
                }
                tokio::time::sleep(SETTLE).await;
                while events.next().now_or_never().flatten().is_some() {}
                due = true;
            }
            () = tokio::time::sleep(CHECK) => due = true,
        }
    }
    vantages.send_replace(None);
    keeper.bring(&OrdMap::new()).await.map(drop)
}

/// Waits for news of one of these bridges or of a vantage's link.
async fn next_of(
    events: &mut (impl StreamExt<Item = (NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)> + Unpin),
    bridges: &OrdMap<IfName, Vantage>,
) -> Option<()> {
    loop {
        let (message, _) = events.next().await?;
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)) =
            message.payload
            && let Some(name) = name(&link)
            && (bridges.contains_key(&name) || bridges.values().any(|vantage| link_name(*vantage) == name.as_str()))
        {
            return Some(());
        }
    }
}

/// Removes the routes to vantages that an agent left which did not end well, from the calling thread's namespace.
///
/// # Errors
/// What could not be removed.
pub(super) async fn uninstall() -> Result<(), VantageError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(VantageError::Socket)?;
    tokio::spawn(connection);
    Keeper { handle, standing: BTreeMap::new() }.remove_remnants().await
}

/// Whether these are the same vantages.
fn same(a: &Option<Vantages>, b: &Option<Vantages>) -> bool {
    let alike = |a: &Result<VantagePoint, Arc<str>>, b: &Result<VantagePoint, Arc<str>>| match (a, b) {
        (Ok(a), Ok(b)) => a.vantage == b.vantage && a.netns.id() == b.netns.id(),
        (Err(a), Err(b)) => a == b,
        _ => false,
    };
    match (a, b) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|((m, x), (n, y))| m == n && alike(x, y)),
        (None, None) => true,
        _ => false,
    }
}

struct Keeper {
    handle: Handle,
    standing: BTreeMap<IfName, (u32, VantagePoint)>,
}

impl Keeper {
    /// Makes those that are missing, removes those that are not wanted, and tells of all.
    async fn bring(&mut self, wanted: &OrdMap<IfName, Vantage>) -> Result<Vantages, VantageError> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(|e| VantageError::List("links", e))?;
        let mut vantages = Vantages::new();
        for name in self.standing.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect::<Vec<_>>() {
            self.remove(&name, &links).await;
        }
        for (bridge, vantage) in wanted {
            let Some(on) = self.bridge(bridge, &links).await? else {
                self.remove(bridge, &links).await;
                continue;
            };
            if !self.stands(bridge, *vantage, &on, &links) {
                self.remove(bridge, &links).await;
                match self.make(*vantage, &on, &links).await {
                    Ok(point) => {
                        info!(%bridge, address = %vantage.address, "the agent has a vantage on the bridge");
                        self.standing.insert(bridge.clone(), (on.index, point));
                    }
                    Err(error) => {
                        let why = error_chain(&error).to_string();
                        warn!(%bridge, error = %why, "the agent has no vantage on a bridge and cannot tell how its \
                            containers fare: their DNS queries go to their own name servers");
                        vantages.insert(bridge.clone(), Err(why.into()));
                        continue;
                    }
                }
            }
            if let Some((_, point)) = self.standing.get(bridge) {
                vantages.insert(bridge.clone(), Ok(point.clone()));
            }
        }
        Ok(vantages)
    }

    /// The bridge of this name, where there is one by which containers can reach the host.
    async fn bridge(&self, bridge: &IfName, links: &[LinkMessage]) -> Result<Option<Bridge>, VantageError> {
        let Some(link) = links.iter().find(|link| name(link).as_ref() == Some(bridge)) else { return Ok(None) };
        let index = link.header.index;
        let addresses = self.handle.address().get().set_link_index_filter(index).execute();
        let addresses: Vec<_> = addresses.try_collect().await.map_err(|e| VantageError::List("addresses", e))?;
        let local = addresses.iter().flat_map(|address| &address.attributes).find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        let mtu = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        Ok(local.zip(mtu).map(|(gateway, mtu)| Bridge { index, mtu, gateway }))
    }

    fn stands(&self, bridge: &IfName, vantage: Vantage, on: &Bridge, links: &[LinkMessage]) -> bool {
        let joins = |link: &LinkMessage| {
            link.attributes.iter().any(|a| matches!(a, LinkAttribute::Controller(index) if *index == on.index))
        };
        let there = || links.iter().any(|link| is_called(link, vantage) && joins(link));
        self.standing
            .get(bridge)
            .is_some_and(|(index, point)| *index == on.index && point.vantage == vantage && there())
    }

    async fn make(&self, vantage: Vantage, on: &Bridge, links: &[LinkMessage]) -> Result<VantagePoint, VantageError> {
        if let Some(remnant) = links.iter().find(|link| is_called(link, vantage)) {
            // Gone by itself, maybe.
            let _ = self.handle.link().del(remnant.header.index).execute().await;
        }
        let netns = Netns::create()?;
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(INSIDE)
            .mtu(on.mtu)
            .setns_by_fd(netns.as_fd().as_raw_fd())
            .build();
        let outside = LinkMessageBuilder::<LinkVeth>::new(&link_name(vantage), INSIDE)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .address(hardware_address(vantage))
            .mtu(on.mtu)
            .controller(on.index)
            .up()
            .build();
        self.handle.link().add(outside).execute().await.map_err(|e| VantageError::SetUp("a link", e))?;
        let (place, gateway) = (netns.clone(), on.gateway);
        let work = move || place.run(|| set_up(vantage, gateway));
        let done = tokio::task::spawn_blocking(work).await.map_err(|e| VantageError::Inside(e.into()))?;
        done??;
        let route = self.handle.route().add(route_to(vantage, on.index)).replace();
        route.execute().await.map_err(|e| VantageError::Route(vantage.address, e))?;
        Ok(VantagePoint { vantage, netns })
    }

    /// Removes a bridge's vantage, as far as it is there.
    async fn remove(&mut self, bridge: &IfName, links: &[LinkMessage]) {
        let Some((index, point)) = self.standing.remove(bridge) else { return };
        let _ = self.handle.route().del(route_to(point.vantage, index)).execute().await;
        if let Some(link) = links.iter().find(|link| is_called(link, point.vantage)) {
            let _ = self.handle.link().del(link.header.index).execute().await;
        }
    }

    async fn remove_remnants(&self) -> Result<(), VantageError> {
        let all = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let all: Vec<RouteMessage> = all.try_collect().await.map_err(|e| VantageError::List("routes", e))?;
        for route in all.into_iter().filter(|route| route.header.protocol == PROTOCOL) {
            let address = route.attributes.iter().find_map(|attribute| match attribute {
                rtnetlink::packet_route::route::RouteAttribute::Destination(
                    rtnetlink::packet_route::route::RouteAddress::Inet(address),
                ) => Some(IpAddr::from(*address)),
                _ => None,
            });
            let address = address.unwrap_or(Family::V4.unspecified());
            self.handle.route().del(route).execute().await.map_err(|e| VantageError::Route(address, e))?;
        }
        Ok(())
    }
}

/// Gives the calling thread's namespace, a vantage's, its address and its way out.
fn set_up(vantage: Vantage, gateway: Ipv4Addr) -> Result<(), VantageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(VantageError::Inside)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(VantageError::Socket)?;
        tokio::spawn(connection);
        let mut found = handle.link().get().match_name(INSIDE).execute();
        let link = found.try_next().await.map_err(|e| VantageError::List("links", e))?;
        let index = link.map(|link| link.header.index).unwrap_or_default();
        let bits = Family::of(vantage.address).bits();
        let address = handle.address().add(index, vantage.address, bits).execute().await;
        address.map_err(|e| VantageError::SetUp("an address", e))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        handle.link().set(up).execute().await.map_err(|e| VantageError::SetUp("a link", e))?;
        let way_out = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(gateway).onlink().build();
        handle.route().add(way_out).execute().await.map_err(|e| VantageError::SetUp("a route", e))
    })
}

/// The host's route to a vantage on the bridge with this index.
fn route_to(vantage: Vantage, bridge: u32) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv4Addr>::new().protocol(PROTOCOL).scope(RouteScope::Link);
    let IpAddr::V4(address) = vantage.address else { return route.build() };
    route.destination_prefix(address, 32).output_interface(bridge).build()
}

fn is_called(link: &LinkMessage, vantage: Vantage) -> bool {
    name(link).is_some_and(|name| name.as_str() == link_name(vantage))
}

/// The name of the link that joins the bridge.
fn link_name(vantage: Vantage) -> String {
    // Vantages are fewer than 256 in a row.
    format!("meshdog{}", last_octet(vantage))
}

/// Of the link that joins the bridge. Higher than any other there: a bridge takes the lowest for its own.
fn hardware_address(vantage: Vantage) -> Vec<u8> {
    [&[0xfe], &b"mesh"[..], &[last_octet(vantage)]].concat()
}

fn last_octet(vantage: Vantage) -> u8 {
    crate::model::address::octets(vantage.address).last().copied().unwrap_or_default()
}

fn name(link: &LinkMessage) -> Option<IfName> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => IfName::new(name),
        _ => None,
    })
}
