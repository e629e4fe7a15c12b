use std::path::Path;

use super::*;
use crate::config;

/// The fleet that this user data names, with its board on `[registry.etcd]` if there is one.
fn fleet(user_data: &str) -> Result<Fleet, FleetError> {
    let text = format!("version = 1\nmesh.namespace = \"prod\"\n{user_data}");
    let settings = config::parse(Path::new("user-data"), &text).unwrap();
    Fleet::new(&settings.update.fleet, settings.etcd.as_ref())
}

#[tokio::test]
async fn a_node_that_stands_alone_always_has_its_turn_and_nobody_to_talk_to() {
    let fleet = fleet("").unwrap();
    assert!(!fleet.has_board());
    assert_eq!(fleet.acquire("a").await.unwrap(), Grant::Granted);
    assert_eq!(fleet.acquire("b").await.unwrap(), Grant::Granted);
    fleet.release("a").await.unwrap();
    let (version, at) = (Version::new(1, 51, 0), Timestamp::now());
    let ruling = Ruling { refused: true, at, by: "a".into(), why: "it was bad".into() };
    fleet.rule(&version, &ruling).await.unwrap();
    fleet.report("a", &Outcome { version, good: false, at }).await.unwrap();
    fleet.reset(at).await.unwrap();
    assert_eq!(fleet.board().await.unwrap(), Board::default());
}

#[test]
fn the_board_is_there_whoever_keeps_the_lock() {
    let etcd = "registry.etcd.endpoints = [\"http://127.0.0.1:1\"]\n";
    assert!(fleet(etcd).unwrap().has_board());
    assert!(fleet(&format!("{etcd}update.fleet.lock = \"etcd\"")).unwrap().has_board());
    let server = "update.fleet = { lock = \"fleetlock\", url = \"http://127.0.0.1:1\" }";
    assert!(fleet(&format!("{etcd}{server}")).unwrap().has_board());
    assert!(!fleet(server).unwrap().has_board());
}
