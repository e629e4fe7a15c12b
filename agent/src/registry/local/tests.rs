use super::*;

#[tokio::test]
async fn own_endpoints_are_the_catalog() {
    let (own, out) = watch::channel(None);
    let RegistryOutputs { mut catalog, mut source, task } = Local.start(out);
    tokio::spawn(task);
    assert!(catalog.borrow_and_update().is_none());
    assert_eq!(source.borrow().state, SourceState::Starting);
    own.send_replace(Some(Endpoints::new()));
    catalog.changed().await.unwrap();
    assert_eq!(*catalog.borrow(), Some(Endpoints::new()));
    source.changed().await.unwrap();
    assert_eq!(source.borrow().state, SourceState::Up);
    // The source stays, whoever stops asking.
    let other = source.clone();
    drop(source);
    assert!(other.has_changed().is_ok());
}
