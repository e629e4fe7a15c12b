//! Nodes of a fleet take turns and talk by a real etcd. No agent, no containers: the part that asks etcd alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use meshdog::config;
use meshdog::update::fleet::{Fleet, Grant, Ruling};
use meshdog_tests::harness::Etcd;
use semver::Version;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Outcome;

/// Longest that many nodes may take over their turns.
const TURNS: Duration = Duration::from_secs(120);

/// An etcd and its directory, which goes when this is dropped.
struct Cluster {
    etcd: Etcd,
    _dir: tempfile::TempDir,
}

impl Cluster {
    fn start() -> anyhow::Result<Self> {
        let world = std::env::var_os("MESHDOG_WORLD").context("run this with tests/world (or tests/run scenarios)")?;
        let dir = tempfile::tempdir_in(world)?;
        Ok(Self { etcd: Etcd::start(dir.path())?, _dir: dir })
    }

    /// A node's fleet, as its user data makes it: lock and board on this etcd.
    fn fleet(&self, max_at_once: u32) -> anyhow::Result<Fleet> {
        fleet(&[&self.etcd.url()], max_at_once)
    }

    /// Writes to etcd what is not meshdog's to write.
    async fn put(&self, values: &[(String, String)]) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        // etcd takes 128 at a time.
        for some in values.chunks(128) {
            let put = |(key, value): &(String, String)| json!({ "request_put": { "key": STANDARD.encode(key), "value": STANDARD.encode(value) } });
            let txn = json!({ "success": some.iter().map(put).collect::<Vec<Value>>() });
            let url = format!("{}/v3/kv/txn", self.etcd.url());
            http.post(url).json(&txn).send().await?.error_for_status()?;
        }
        Ok(())
    }
}

fn fleet(endpoints: &[&str], max_at_once: u32) -> anyhow::Result<Fleet> {
    let user_data = format!(
        "version = 1\nmesh.namespace = \"prod\"\nregistry.etcd.endpoints = {endpoints:?}\n\
         [update.fleet]\nlock = \"etcd\"\ngroup = \"workers\"\nmax_at_once = {max_at_once}\n"
    );
    let settings = config::parse(Path::new("user-data"), &user_data)?;
    Ok(Fleet::new(&settings.update.fleet, settings.etcd.as_ref())?)
}

fn refusal(grant: Grant) -> anyhow::Result<Arc<str>> {
    match grant {
        Grant::Granted => bail!("granted"),
        Grant::Refused(why) => Ok(why),
    }
}

fn ruling(refused: bool, at: Timestamp, why: &str) -> Ruling {
    Ruling { refused, at, by: "node-a".into(), why: why.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_ask_at_once_as_many_as_may_hold_the_lock() -> Outcome {
    let cluster = Cluster::start()?;
    let mut nodes = JoinSet::new();
    for number in 0..24 {
        let fleet = cluster.fleet(3)?;
        nodes.spawn(async move { fleet.acquire(&format!("node-{number}")).await });
    }
    let mut granted = 0;
    while let Some(answer) = nodes.join_next().await {
        granted += u32::from(answer?? == Grant::Granted);
    }
    ensure!(granted == 3, "{granted} nodes hold the lock");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_its_turn_and_never_too_many_at_once() -> Outcome {
    let cluster = Cluster::start()?;
    let (holding, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut nodes = JoinSet::new();
    for number in 0..24 {
        let (fleet, holding, most) = (cluster.fleet(3)?, Arc::clone(&holding), Arc::clone(&most));
        nodes.spawn(async move {
            let node = format!("node-{number}");
            while let Grant::Refused(why) = fleet.acquire(&node).await? {
                ensure!(why.contains("held by node-"), "{why}");
                sleep(Duration::from_millis(20)).await;
            }
            most.fetch_max(holding.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(50)).await;
            holding.fetch_sub(1, Ordering::SeqCst);
            Ok(fleet.release(&node).await?)
        });
    }
    timeout(TURNS, async {
        while let Some(ended) = nodes.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })
    .await
    .context("some node never had its turn")??;
    let most = most.load(Ordering::SeqCst);
    println!("{most} nodes at once at most");
    ensure!((1..=3).contains(&most), "{most} nodes held the lock at once");
    Ok(())
}

#[tokio::test]
async fn a_held_lock_outlives_etcds_crash_and_the_nodes_reboot() -> Outcome {
    let mut cluster = Cluster::start()?;
    let (a, b) = (cluster.fleet(1)?, cluster.fleet(1)?);
    ensure!(a.acquire("node-a").await? == Grant::Granted);
    let before = Timestamp::now();
    cluster.etcd.kill()?;
    let gone = b.acquire("node-b").await.err().context("granted by an etcd that is gone")?;
    ensure!(gone.to_string().contains(&cluster.etcd.url()), "{gone}");
    ensure!(b.board().await.is_err() && a.release("node-a").await.is_err());
    cluster.etcd.restart()?;
    let why = refusal(b.acquire("node-b").await?)?;
    let since = why.rsplit_once("since ").context("no time")?.1.parse::<Timestamp>()?;
    ensure!(why.starts_with("group workers is full (max_at_once = 1): held by node-a since "), "{why}");
    ensure!(before.duration_since(since).abs() < SignedDuration::from_mins(1), "{why}");

    let rebooted = cluster.fleet(1)?;
    ensure!(rebooted.acquire("node-a").await? == Grant::Granted, "it holds it already");
    b.release("node-b").await?;
    refusal(b.acquire("node-b").await?).context("freed by a node that did not hold it")?;
    rebooted.release("node-a").await?;
    rebooted.release("node-a").await?;
    ensure!(b.acquire("node-b").await? == Grant::Granted);
    Ok(())
}

#[tokio::test]
async fn a_lock_that_somebody_spoilt_is_granted_to_nobody() -> Outcome {
    let cluster = Cluster::start()?;
    let fleet = cluster.fleet(1)?;
    let key = "/meshdog/v1/update/workers/slots";
    cluster.put(&[(key.to_owned(), "{}".to_owned())]).await?;
    let error = fleet.acquire("node-a").await.err().context("granted")?;
    ensure!(error.to_string().contains(&format!("`etcdctl del {key}`")), "{error}");
    ensure!(fleet.release("node-a").await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_member_that_is_gone_is_passed_over() -> Outcome {
    let cluster = Cluster::start()?;
    let dead = Cluster::start()?;
    let dead_url = dead.etcd.url();
    drop(dead);
    let fleet = fleet(&[&dead_url, &cluster.etcd.url()], 1)?;
    ensure!(fleet.acquire("node-a").await? == Grant::Granted);
    refusal(cluster.fleet(1)?.acquire("node-b").await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_word_about_a_version_stays_in_whatever_order_they_come() -> Outcome {
    let cluster = Cluster::start()?;
    let fleet = cluster.fleet(1)?;
    ensure!(fleet.board().await? == Default::default(), "not empty");
    let version: Version = "1.51.0+build.7".parse()?;
    let now = Timestamp::now();
    let mut words = JoinSet::new();
    for age in 0..16 {
        let (fleet, version) = (cluster.fleet(1)?, version.clone());
        let word = ruling(age % 2 == 0, now - SignedDuration::from_secs(age), &format!("{age} s old"));
        words.spawn(async move { fleet.rule(&version, &word).await });
    }
    while let Some(told) = words.join_next().await {
        told??;
    }
    let newest = ruling(true, now, "0 s old");
    ensure!(fleet.board().await?.rulings.get(&version) == Some(&newest), "{:?}", fleet.board().await?);
    fleet.rule(&version, &ruling(false, now - SignedDuration::from_hours(1), "late")).await?;
    ensure!(fleet.board().await?.rulings.get(&version) == Some(&newest), "an old word went over a new one");
    let allowed = ruling(false, now + SignedDuration::from_secs(1), "fixed");
    fleet.rule(&version, &allowed).await?;
    fleet.rule(&"1.52.0".parse()?, &newest).await?;
    let rulings = fleet.board().await?.rulings;
    ensure!(rulings.get(&version) == Some(&allowed) && rulings.len() == 2, "{rulings:?}");
    Ok(())
}

#[tokio::test]
async fn the_circuit_opens_for_the_whole_group_until_a_person_says_resume() -> Outcome {
    let cluster = Cluster::start()?;
    let (a, b) = (cluster.fleet(1)?, cluster.fleet(1)?);
    let outcome = |good, at| meshdog::update::fleet::Outcome { version: Version::new(1, 51, 0), good, at };
    let now = Timestamp::now();
    a.report("node-a", &outcome(false, now)).await?;
    a.report("node-a", &outcome(true, now - SignedDuration::from_secs(1))).await?;
    ensure!(b.board().await?.breaker(now, 0.25).is_none(), "opened by one node");
    b.report("node-b", &outcome(false, now)).await?;
    let why = a.board().await?.breaker(now, 0.25).context("not opened")?;
    ensure!(why.starts_with("2 of 2 updates") && why.contains("node-a") && why.contains("node-b"), "{why}");

    let resumed = now + SignedDuration::from_secs(1);
    b.reset(resumed).await?;
    a.reset(now).await?;
    let board = a.board().await?;
    ensure!(board.since == Some(resumed) && board.breaker(resumed, 0.25).is_none(), "{board:?}");
    let later = resumed + SignedDuration::from_secs(1);
    for (fleet, node) in [(&a, "node-a"), (&b, "node-b")] {
        fleet.report(node, &outcome(false, later)).await?;
    }
    ensure!(b.board().await?.breaker(later, 0.25).is_some(), "not opened again");
    Ok(())
}

#[tokio::test]
async fn a_board_that_somebody_flooded_is_read_in_part_the_newest_first() -> Outcome {
    let cluster = Cluster::start()?;
    let (fleet, now) = (cluster.fleet(1)?, Timestamp::now());
    let below = "/meshdog/v1/update/workers";
    let outcome = json!({ "version": "1.51.0", "good": true, "at": now }).to_string();
    let mut values: Vec<_> =
        (0..10_500).map(|n| (format!("{below}/outcomes/ip-10-0-{n}.internal"), outcome.clone())).collect();
    let word = json!(ruling(true, now, "flood")).to_string();
    values.extend((0..300).map(|n| (format!("{below}/rulings/1.{n}.0"), word.clone())));
    values.extend((0..50).map(|n| (format!("{below}/outcomes/bad-{n}"), "no word".to_owned())));
    values.push((format!("{below}/outcomes-elsewhere"), outcome.clone()));
    cluster.put(&values).await?;
    let newest: Version = "1.0.1".parse()?;
    fleet.rule(&newest, &ruling(true, now, "x\n".repeat(10_000).as_str())).await?;
    let board = fleet.board().await?;
    ensure!(board.rulings.len() == 256, "{} rulings", board.rulings.len());
    ensure!(board.outcomes.len() == 10_000 - 50, "{} outcomes", board.outcomes.len());
    let ruling = board.rulings.get(&newest).context("the newest ruling is missing")?;
    ensure!(ruling.why.chars().count() < 400, "{}", ruling.why);
    Ok(())
}
