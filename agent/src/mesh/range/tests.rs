use std::path::Path;

use super::*;

/// A host of its own: a boot and a state directory.
struct Host {
    dir: tempfile::TempDir,
    paths: Paths,
}

fn host() -> Host {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let paths = crate::config::parse(Path::new("user-data"), "version = 1").unwrap().paths;
    let paths =
        Paths { state_dir: dir.path().join("state"), boot_id: dir.path().join("boot"), api_socket: missing, ..paths };
    let host = Host { dir, paths };
    host.boots("one");
    host
}

impl Host {
    fn boots(&self, id: &str) {
        std::fs::write(self.dir.path().join("boot"), format!("{id}\n")).unwrap();
    }

    /// The range that the agent takes from, started with this one in its configuration.
    async fn started(&self, configured: &str) -> Result<String, String> {
        let settled = settle(&mesh(configured), &self.paths).await;
        settled.map(|ranges| ranges.v4().to_string()).map_err(|error| error.to_string())
    }
}

fn mesh(range: &str) -> MeshSettings {
    let mut mesh = crate::config::parse(Path::new("user-data"), "version = 1").unwrap().mesh;
    mesh.vip_ranges = VipRanges::new(range.parse().unwrap(), None).unwrap();
    mesh
}

#[tokio::test]
async fn a_boot_keeps_the_range_that_it_began_with() {
    let host = host();
    assert_eq!(host.started("240.1.0.0/16").await.as_deref(), Ok("240.1.0.0/16"));
    assert_eq!(host.started("240.2.0.0/16").await.as_deref(), Ok("240.1.0.0/16"));
    assert_eq!(of_this_boot(&mesh("240.2.0.0/16"), &host.paths).v4().to_string(), "240.1.0.0/16");
    host.boots("two");
    assert_eq!(of_this_boot(&mesh("240.2.0.0/16"), &host.paths).v4().to_string(), "240.2.0.0/16");
    assert_eq!(host.started("240.2.0.0/16").await.as_deref(), Ok("240.2.0.0/16"));
}

#[tokio::test]
async fn what_was_kept_and_cannot_be_read_is_worth_nothing() {
    let host = host();
    host.started("240.1.0.0/16").await.unwrap();
    let file = host.paths.state_dir.join(FILE);
    for damaged in ["", "{", r#"{"boot":"one","v4":"10.0.0.0/40","v6":null}"#, &"x".repeat(9999)] {
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(host.started("240.2.0.0/16").await.as_deref(), Ok("240.2.0.0/16"), "{damaged:.40}");
    }
}

#[tokio::test]
async fn an_unknown_boot_takes_what_is_configured() {
    let host = host();
    host.started("240.1.0.0/16").await.unwrap();
    std::fs::remove_file(host.dir.path().join("boot")).unwrap();
    assert_eq!(host.started("240.2.0.0/16").await.as_deref(), Ok("240.2.0.0/16"));
}

#[test]
fn a_former_agent_is_known_by_its_resolver() {
    let former = VipCidr::former_default();
    assert!(is_held_by_a_former_agent(former, &["127.0.0.1".parse().unwrap(), "198.19.0.1".parse().unwrap()]));
    assert!(!is_held_by_a_former_agent(former, &["198.19.0.2".parse().unwrap()]));
}
