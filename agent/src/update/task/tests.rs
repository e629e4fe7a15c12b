use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::config;
use crate::model::Source;
use crate::update::handle::CommandError;
use crate::update::machine::{Command, Phase};

/// A task in this mode on a host of which nothing is known yet, with all that it writes in a directory.
fn task(dir: &Path, mode: &str) -> (Task, Handle, watch::Receiver<Availability>) {
    let boot_id = dir.join("boot_id");
    std::fs::write(&boot_id, "1f5a\n").unwrap();
    let text = format!(
        "version = 1\nupdate.mode = {mode:?}\n[paths]\nstate_dir = {:?}\nboot_id = {boot_id:?}\napi_socket = {:?}\n",
        dir.join("state"),
        dir.join("api.sock"),
    );
    let settings = config::parse(Path::new("user-data"), &text).unwrap();
    let inputs = verify::Inputs {
        host_api: watch::channel(Source::starting()).1,
        docker: watch::channel(Source::starting()).1,
        dataplane: watch::channel(Default::default()).1,
        desired: watch::channel(None).1,
        own: watch::channel(None).1,
    };
    // Its sender stays, as that of a host that has yet to say who it is.
    let node = Box::leak(Box::new(watch::Sender::new(None))).subscribe();
    Task::new(&settings, node, None, inputs)
}

#[tokio::test]
async fn a_task_ends_when_told_to_though_it_waits_for_the_host() {
    for (mode, phase) in [("off", Phase::Off), ("automatic", Phase::Idle)] {
        let dir = tempfile::tempdir().unwrap();
        let (task, handle, availability) = task(dir.path(), mode);
        assert_eq!((handle.state.borrow().phase(), &*availability.borrow()), (phase, &Availability::Serving));
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.run(stop.clone()));
        if mode == "off" {
            assert_eq!(handle.command(Command::Resume).await, Err(CommandError::Unavailable), "nobody takes commands");
        }
        stop.cancel();
        timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    }
}
