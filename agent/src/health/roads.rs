//! Whether clients of one bridge can connect to containers of another, or of their own: tried from the agent's vantages,
//! by VIPs that lead to others of them.
//!
//! Docker drops what goes from one of its networks to another; firewalls may drop more, and may let through what Docker
//! would drop. None of it is guessed. Receives vantages and what is applied, emits the roads that are closed. What refuses
//! at once is no closed road: a client notices.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use socket2::{Domain, Type};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::dataplane::DataplaneState;
use crate::dataplane::netns::Netns;
use crate::dataplane::trace;
use crate::dataplane::vantages::{VantagePoint, Vantages};
use crate::model::publish::publish;
use crate::model::{ClosedRoads, IfName, View};

/// How often roads are tried that have been.
const EVERY: Duration = Duration::from_secs(30);
/// After how long it is looked again whether the VIPs are in the kernel.
const SOON: Duration = Duration::from_millis(100);
/// How long a connection may take. The kernel sends a SYN again after one second: two are lost by then.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Roads that are tried at a time.
const AT_ONCE: usize = 32;

/// Follows the vantages and publishes which roads are closed. Ends with its inputs.
pub async fn follow(
    mut vantages: watch::Receiver<Option<Vantages>>,
    dataplane: watch::Receiver<DataplaneState>,
    closed: watch::Sender<ClosedRoads>,
) {
    loop {
        let points: Vec<(IfName, VantagePoint)> = {
            let all = vantages.borrow_and_update();
            let all = all.iter().flatten().filter_map(|(bridge, point)| Some((bridge.clone(), point.clone().ok()?)));
            all.collect()
        };
        let next = if points.iter().all(|(_, point)| leads_there(&dataplane.borrow(), point)) {
            let before = closed.borrow().clone();
            let found = try_all(&points, &before).await;
            tell(&before, &found);
            publish(&closed, found, PartialEq::eq);
            EVERY
        } else {
            SOON
        };
        tokio::select! {
            changed = vantages.changed() => if changed.is_err() { return },
            () = sleep_until(Instant::now() + next) => {}
        }
    }
}

/// Whether the kernel leads the vantage's VIP to it.
fn leads_there(dataplane: &DataplaneState, point: &VantagePoint) -> bool {
    let (frontend, slots) = point.vantage.frontend();
    dataplane.applied(View::Node).is_some_and(|applied| applied.frontends.get(&frontend) == Some(&slots))
}

/// Tries each road.
async fn try_all(points: &[(IfName, VantagePoint)], before: &ClosedRoads) -> ClosedRoads {
    // One that is not reached from the host either says nothing of roads.
    let goals = points.iter().cloned().map(|goal| async move { reached(&goal.1).await.then_some(goal) });
    let goals: Vec<_> = stream::iter(goals).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let mut roads = Vec::new();
    for (bridge, start) in points {
        for (to, goal) in &goals {
            let road = (bridge.clone(), to.clone());
            let why = before.get(&road).cloned();
            roads.push(try_road(road, start.clone(), goal.clone(), why));
        }
    }
    stream::iter(roads).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Whether the host itself reaches a vantage.
async fn reached(goal: &VantagePoint) -> bool {
    matches!(arrives(None, goal).await, Ok(true))
}

/// The road if it is closed, and what is in the way. What is known of that stands.
async fn try_road(
    road: (IfName, IfName),
    start: VantagePoint,
    goal: VantagePoint,
    why: Option<Arc<str>>,
) -> Option<((IfName, IfName), Arc<str>)> {
    if !matches!(arrives(Some(&start.netns), &goal).await, Ok(false)) {
        return None;
    }
    let why = match why {
        Some(why) => why,
        None => trace::dropped(start.vantage.address, arrives(Some(&start.netns), &goal)).await.map_or_else(
            || "dropped, and not by nftables: see iptables-legacy -S FORWARD".into(),
            |dropped| dropped.to_string().into(),
        ),
    };
    Some((road, why))
}

/// Whether a connection to a vantage's VIP comes to anything: an error where it could not be tried. Nobody listens there,
/// so that it is refused where it arrives.
async fn arrives(from: Option<&Netns>, to: &VantagePoint) -> io::Result<bool> {
    let address: SocketAddr = to.vantage.frontend().0.address();
    let domain = Domain::for_address(address);
    let socket = match from {
        Some(netns) => netns.socket(domain, Type::STREAM, None).map_err(io::Error::other)?,
        None => socket2::Socket::new(domain, Type::STREAM.nonblocking(), None)?,
    };
    let connect = TcpSocket::from_std_stream(socket.into()).connect(address);
    Ok(timeout(PATIENCE, connect).await.is_ok())
}

/// Says what is new.
fn tell(before: &ClosedRoads, now: &ClosedRoads) {
    for ((from, to), why) in now.iter().filter(|(road, _)| !before.contains_key(*road)) {
        warn!(%from, %to, %why, "containers on one network cannot connect to those on another: services there refuse \
            them at once");
    }
    for ((from, to), _) in before.iter().filter(|(road, _)| !now.contains_key(*road)) {
        info!(%from, %to, "containers on one network can connect to those on another");
    }
}
