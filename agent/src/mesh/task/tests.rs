use std::time::Duration;

use super::*;
use crate::config::{BackendKind, Locality};
use crate::model::{
    Containers, Ejections, Endpoint, EndpointAddresses, EndpointId, EndpointState, L4, Rulesets, View, VipRanges,
    Weight,
};

fn settings() -> MeshSettings {
    MeshSettings {
        namespace: "prod".parse().unwrap(),
        import: Vec::new(),
        vip_ranges: VipRanges::default(),
        backend: BackendKind::Auto,
        locality: Locality::None,
        image_labels: false,
        alias_allow: Vec::new(),
    }
}

fn node() -> Node {
    Node { name: "n".into(), address: [10, 0, 0, 1].into(), zone: None, os_version: None, hosts: Arc::default() }
}

fn orders() -> Endpoints {
    let port = std::num::NonZeroU16::new(8080).unwrap();
    let endpoint = Endpoint {
        service: crate::model::ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() },
        id: EndpointId::new("0123456789ab", port, L4::Tcp),
        addresses: EndpointAddresses::on_bridge("172.17.0.2:8080"),
        protocol: "tcp".parse().unwrap(),
        aliases: ["orders:80".parse().unwrap()].into(),
        weight: Weight::default(),
        node: "n".into(),
        zone: None,
        task: "t".into(),
        container: "c".into(),
        started_ms: 0,
        state: EndpointState::Healthy,
        last_resort: false,
        reason: "".into(),
    };
    Endpoints::unit(endpoint.key(), Arc::new(endpoint))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_every_source_has_spoken_and_vips_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, catalog_rx) = watch::channel(None);
    let (_ejections, ejections) = watch::channel(Ejections::default());
    let (node_tx, node_rx) = watch::channel(None);
    let (containers, containers_rx) = watch::channel(None);
    let (_resolvers, resolvers) = watch::channel(CapturedServers {
        containers: ["10.0.0.2:53".parse().unwrap()].into(),
        host: ["127.0.0.53:53".parse().unwrap()].into(),
    });
    let (_closed_roads, closed_roads) = watch::channel(ClosedRoads::default());
    let inputs = MeshInputs {
        catalog: catalog_rx,
        ejections,
        node: node_rx,
        containers: containers_rx,
        resolvers,
        closed_roads,
    };
    let (desired, mut desired_rx) = watch::channel(None);
    let (rulesets, rulesets_rx) = watch::channel(None);
    let stop = CancellationToken::new();
    let state_dir = dir.path().join("state");
    let task =
        tokio::spawn(run(settings(), state_dir.clone(), inputs, MeshOutputs { desired, rulesets }, stop.clone()));

    catalog.send_replace(Some(orders()));
    containers.send_replace(Some(Containers::default()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(desired_rx.borrow().is_none());

    node_tx.send_replace(Some(node()));
    desired_rx.changed().await.unwrap();
    let rulesets: Rulesets = rulesets_rx.borrow().clone().unwrap();
    let ruleset = &rulesets[&View::Node];
    assert!(Arc::ptr_eq(ruleset, desired_rx.borrow().as_ref().unwrap().ruleset(View::Node).unwrap()));
    assert_eq!(ruleset.frontends.len(), 1);
    assert_eq!(ruleset.resolvers, imbl::OrdMap::unit([10, 0, 0, 2].into(), 15053));
    assert_eq!(ruleset.host_resolvers, imbl::OrdMap::unit([127, 0, 0, 53].into(), 15061));

    stop.cancel();
    task.await.unwrap();
    let kept: Remembered = serde_json::from_slice(&std::fs::read(state_dir.join(VIPS_FILE)).unwrap()).unwrap();
    assert_eq!(kept.vips.keys().collect::<Vec<_>>(), ["prod/orders"]);
    assert_eq!(kept.claims["orders"], [("prod/orders".to_owned(), 0)].into());
    assert_eq!(read(&StateFile::new(&state_dir, VIPS_FILE, MAX_VIPS_FILE)).unwrap(), kept);
}

#[test]
fn a_spoilt_file_is_an_error_and_a_missing_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = StateFile::new(dir.path(), VIPS_FILE, MAX_VIPS_FILE);
    assert_eq!(read(&file).unwrap(), Remembered::default());
    std::fs::write(file.path(), b"{\"vips\": [").unwrap();
    assert!(read(&file).is_err());
    // As former versions wrote it.
    std::fs::write(file.path(), b"{\"vips\":{\"prod/orders\":\"198.19.0.7\"}}").unwrap();
    assert_eq!(read(&file).unwrap().vips.len(), 1);
}
