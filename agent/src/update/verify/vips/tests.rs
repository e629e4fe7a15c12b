use std::collections::BTreeSet;

use proptest::prelude::*;
use tokio::net::{TcpListener, TcpSocket};

use super::super::tests::{bound, endpoint, endpoints, full, own, served};
use super::*;
use crate::config::{BackendKind, Locality, MeshSettings};
use crate::mesh::vip::Remembered;
use crate::mesh::{Mesh, MeshSnapshot};
use crate::model::{Endpoint, EndpointState, ServiceId, VipRanges};

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn one_that_gets_through_is_enough_and_the_others_are_named() {
    let (_listener, good) = listening().await;
    let (_socket, refusing) = bound();
    let found = look(&served(&[("prod/good", good)]), None).await;
    assert_eq!(found.unwrap(), "1 services dialled, all answer");
    let found = look(&served(&[("prod/good", good), ("prod/bad", refusing)]), None).await.unwrap();
    assert!(found.starts_with(&format!("1 of 2 services answer; not prod/bad at {refusing} (Conn")), "{found}");
}

#[tokio::test]
async fn when_none_gets_through_all_are_tried() {
    let refusing: Vec<(TcpSocket, SocketAddr)> = (0..AT_ONCE + 3).map(|_| bound()).collect();
    let all: Vec<(String, SocketAddr)> =
        refusing.iter().enumerate().map(|(n, (_, address))| (format!("prod/bad{n}"), *address)).collect();
    let all: Vec<(&str, SocketAddr)> = all.iter().map(|(name, address)| (&**name, *address)).collect();
    let found = look(&served(&all), None).await.unwrap_err();
    assert!(found.starts_with("none of 11 services answers at its VIP: prod/bad"), "{found}");
    assert!(found.ends_with("and 3 more"), "{found}");
}

#[tokio::test]
async fn those_that_refuse_do_not_hide_one_that_answers() {
    let refusing: Vec<(TcpSocket, SocketAddr)> = (0..AT_ONCE).map(|_| bound()).collect();
    let (_listener, good) = listening().await;
    let names: Vec<String> = (0..AT_ONCE).map(|n| format!("prod/bad{n}")).collect();
    let mut all: Vec<(&str, SocketAddr)> =
        names.iter().zip(&refusing).map(|(name, (_, address))| (&**name, *address)).collect();
    // Those of this node are dialled first: all that refuse.
    let own = endpoints(all.iter().map(|(name, address)| {
        std::sync::Arc::new(Endpoint {
            addresses: own(*address),
            ..(*endpoint(name, 1, EndpointState::Healthy)).clone()
        })
    }));
    all.push(("prod/good", good));
    let found = look(&served(&all), Some(&own)).await.unwrap();
    assert!(found.starts_with("1 of 9 services answer; not prod/bad"), "{found}");
}

#[tokio::test]
async fn silence_ends() {
    let (_held, _listener, silent) = full().await;
    let desired = served(&[("prod/silent", silent)]);
    tokio::time::pause();
    let found = look(&desired, None).await.unwrap_err();
    assert_eq!(found, format!("none of 1 services answers at its VIP: prod/silent at {silent} (timed out)"));
}

#[tokio::test]
async fn with_nothing_to_dial_all_is_well() {
    let found = look(&Desired::default(), None).await.unwrap();
    assert!(found.contains("nothing to dial"), "{found}");
}

fn mesh(catalog: Endpoints) -> Desired {
    let settings = MeshSettings {
        namespace: "prod".parse().unwrap(),
        import: Vec::new(),
        vip_ranges: VipRanges::default(),
        backend: BackendKind::Auto,
        locality: Locality::None,
        image_labels: false,
        alias_allow: Vec::new(),
    };
    Mesh::new(settings, &Remembered::default()).advance(MeshSnapshot { catalog, ..MeshSnapshot::default() })
}

#[derive(Debug, Clone)]
struct Drawn {
    service: usize,
    udp: bool,
    state: EndpointState,
    own: bool,
    aliases: Vec<usize>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let state = prop::sample::select(EndpointState::ALL.to_vec());
    (0..80_usize, any::<bool>(), state, any::<bool>(), prop::collection::vec(0..90_usize, 1..3))
        .prop_map(|(service, udp, state, own, aliases)| Drawn { service, udp, state, own, aliases })
}

proptest! {
    /// Every service is dialled once, at a VIP that leads to it over TCP; those that are here come first.
    #[test]
    fn every_service_is_dialled_once_and_the_near_ones_first(all in prop::collection::vec(drawn(), 0..150)) {
        let made: Vec<(bool, Endpoint)> = all.iter().zip(1_u8..).map(|(one, n)| {
            let base = (*endpoint(&format!("prod/s{}", one.service), n, one.state)).clone();
            let protocol = if one.udp { "udp" } else { "http" }.parse().unwrap();
            let aliases = one.aliases.iter().map(|alias| format!("a{}:{}", alias / 3, 80 + alias % 3).parse().unwrap());
            (one.own, Endpoint { protocol, aliases: aliases.collect(), ..base })
        }).collect();
        let catalog = endpoints(made.iter().map(|(_, endpoint)| std::sync::Arc::new(endpoint.clone())));
        let own = endpoints(made.iter().filter(|(own, _)| *own).map(|(_, e)| std::sync::Arc::new(e.clone())));
        let desired = mesh(catalog);
        let list = dial_list(&desired, Some(&own));

        let frontend = |address: &SocketAddr| Frontend {
            vip: address.ip(), l4: L4::Tcp, port: NonZeroU16::new(address.port()).unwrap(),
        };
        let services: Vec<&ServiceId> = list.iter().map(|address| &desired.served[&frontend(address)]).collect();
        let distinct: BTreeSet<&ServiceId> = services.iter().copied().collect();
        prop_assert_eq!(distinct.len(), services.len());
        let reachable: BTreeSet<&ServiceId> =
            desired.served.iter().filter(|(frontend, _)| frontend.l4 == L4::Tcp).map(|(_, service)| service).collect();
        prop_assert_eq!(services.len(), reachable.len().min(MAX_DIALLED));

        let here: BTreeSet<SocketAddr> =
            own.values().filter(|e| e.protocol.l4() == L4::Tcp).flat_map(|e| e.addresses.local()).collect();
        let near: Vec<bool> = list.iter().map(|address| {
            desired.ruleset(View::Node).unwrap().frontends[&frontend(address)].iter().any(|slot| here.contains(slot))
        }).collect();
        prop_assert!(near.is_sorted_by(|a, b| a >= b), "{:?}", near);
    }
}
