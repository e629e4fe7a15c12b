//! What the data plane needs of interfaces, over rtnetlink: the resolver's address on `lo`, and bridge ports that may
//! send a frame back where it came from.
//!
//! With br_netfilter in force (Docker turns it on), a connection that lands on its own client is translated while it is
//! being bridged and must leave by the port it came in by, which a bridge refuses unless the port is in hairpin mode.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use imbl::OrdSet;
use nix::libc;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoBridgePort, InfoPortData, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkBridgePort, MulticastGroup};
use tokio::sync::watch;

use crate::model::{Family, IfName, error_chain};

/// `lo` is the first interface of every network namespace.
const LOOPBACK: u32 = 1;
/// New ports come in bursts (a container's start is several messages): one sweep for all.
const SETTLE: Duration = Duration::from_millis(20);
/// How often ports are looked at without being told.
const SWEEP: Duration = Duration::from_secs(60);
/// Says whether bridged packets of a family go through netfilter in this network namespace (br_netfilter).
fn bridge_nf(family: Family) -> &'static str {
    match family {
        Family::V4 => "/proc/sys/net/bridge/bridge-nf-call-iptables",
        Family::V6 => "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    }
}

/// How often the resolver's address is looked at: somebody may have taken it away.
const ADDRESS_CHECK: Duration = Duration::from_secs(60);

/// Why an interface could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No rtnetlink socket.
    #[error("cannot open an rtnetlink socket")]
    Socket(#[source] std::io::Error),
    /// The address on `lo`.
    #[error("cannot change {0} on lo; the agent needs CAP_NET_ADMIN in the host's network namespace")]
    Address(IpAddr, #[source] rtnetlink::Error),
    /// The list of interfaces.
    #[error("cannot list network interfaces")]
    List(#[source] rtnetlink::Error),
    /// A bridge port.
    #[error("cannot turn on hairpin mode of bridge port {0}; its container cannot reach itself through a VIP")]
    Port(u32, #[source] rtnetlink::Error),
}

/// Opens a socket in the calling thread's network namespace; the current runtime serves it.
fn connect() -> Result<Handle, LinkError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(LinkError::Socket)?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Adds the address to `lo` if it is not there.
pub(crate) async fn add_address(address: IpAddr) -> Result<(), LinkError> {
    let mut request = connect()?.address().add(LOOPBACK, address, Family::of(address).bits()).replace();
    // An IPv6 address could not be bound while the kernel looks for duplicates of it.
    request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    request.execute().await.map_err(|source| LinkError::Address(address, source))
}

/// Keeps the address on `lo`. Never returns.
pub(crate) async fn keep_address(address: IpAddr) {
    loop {
        tokio::time::sleep(ADDRESS_CHECK).await;
        if let Err(error) = add_address(address).await {
            tracing::warn!(error = %error_chain(&error), "cannot keep the resolver's address: DNS queries are not answered");
        }
    }
}

/// Removes the address from `lo` if it is there.
pub(crate) async fn remove_address(address: IpAddr) -> Result<(), LinkError> {
    let mut message = AddressMessage::default();
    let family = Family::of(address);
    message.header.family = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = family.bits();
    message.header.index = LOOPBACK;
    message.attributes.push(match family {
        Family::V4 => AddressAttribute::Local(address),
        Family::V6 => AddressAttribute::Address(address),
    });
    // The last two: the kernel has no such family, or `lo` has it switched off.
    let absent = [libc::EADDRNOTAVAIL, libc::EOPNOTSUPP, libc::ENXIO];
    match connect()?.address().del(message).execute().await {
        Err(rtnetlink::Error::NetlinkError(error)) if absent.contains(&-error.raw_code()) => Ok(()),
        result => result.map_err(|source| LinkError::Address(address, source)),
    }
}

/// Keeps every port of these bridges in hairpin mode while bridged packets of one of the families go through netfilter.
/// Ends with its input.
pub(crate) async fn keep_hairpins(
    families: Vec<Family>,
    mut bridges: watch::Receiver<OrdSet<IfName>>,
) -> Result<(), LinkError> {
    let (connection, handle, mut events) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(LinkError::Socket)?;
    tokio::spawn(connection);
    loop {
        let names = bridges.borrow_and_update().clone();
        if let Err(error) = sweep(&handle, &families, &names).await {
            tracing::warn!(error = %error_chain(&error), "bridge ports were not all set");
        }
        tokio::select! {
            changed = bridges.changed() => if changed.is_err() { return Ok(()) },
            event = events.next() => {
                if event.is_none() {
                    return Ok(());
                }
                tokio::time::sleep(SETTLE).await;
                while futures_util::FutureExt::now_or_never(events.next()).flatten().is_some() {}
            }
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// Sets what is not set yet; goes on past a port that is gone by then.
async fn sweep(handle: &Handle, families: &[Family], bridges: &OrdSet<IfName>) -> Result<(), LinkError> {
    let is_off = |family: &Family| std::fs::read_to_string(bridge_nf(*family)).is_ok_and(|on| on.trim() != "1");
    if bridges.is_empty() || families.iter().all(is_off) {
        return Ok(());
    }
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await.map_err(LinkError::List)?;
    let named = |link: &&LinkMessage| {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => IfName::new(name),
            _ => None,
        });
        name.is_some_and(|name| bridges.contains(&name))
    };
    let bridges: BTreeSet<u32> = links.iter().filter(named).map(|link| link.header.index).collect();
    let mut result = Ok(());
    for port in links.iter().filter(|link| lacks_hairpin(link, &bridges)).map(|link| link.header.index) {
        let request = handle.link().set_port(LinkBridgePort::new(port).hairpin(true).build());
        if let Err(source) = request.execute().await {
            result = Err(LinkError::Port(port, source));
        }
    }
    result
}

/// Whether the link is a port of one of these bridges, and not in hairpin mode.
fn lacks_hairpin(link: &LinkMessage, bridges: &BTreeSet<u32>) -> bool {
    let port = link.attributes.iter().any(|a| matches!(a, LinkAttribute::Controller(of) if bridges.contains(of)));
    let info = link.attributes.iter().flat_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.as_slice(),
        _ => &[],
    });
    let port_data = info.flat_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => data.as_slice(),
        _ => &[],
    });
    port && !port_data.into_iter().any(|data| matches!(data, InfoBridgePort::HairpinMode(true)))
}
