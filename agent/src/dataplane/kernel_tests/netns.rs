//! Network namespaces for tests: each on a thread of its own, gone with it. Needs root and the `ip` and `nft` programs.

use std::fs::File;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use nix::sched::{CloneFlags, setns, unshare};
use tokio_util::sync::CancellationToken;

type Job = Box<dyn FnOnce() + Send>;

/// How long a test may wait for a state that is to come. Only a failing test takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A namespace and the thread that lives in it.
pub(crate) struct Netns {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
    over: CancellationToken,
    servers: Mutex<Vec<JoinHandle<()>>>,
}

impl Netns {
    /// An empty namespace with `lo` up.
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        let netns = Self {
            jobs: Some(jobs),
            thread: Some(thread),
            tid: tid.recv().unwrap(),
            over: CancellationToken::new(),
            servers: Mutex::default(),
        };
        // Without duplicate address detection, an IPv6 address can be used as soon as it is there.
        netns.sh(
            "for which in all default; do echo 0 > /proc/sys/net/ipv6/conf/$which/accept_dad; done; ip link set lo up",
        );
        netns
    }

    /// Runs a closure in the namespace and hands back what it returns.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(job).recv().expect("the job panicked")
    }

    /// Runs a closure on a further thread in the namespace.
    pub(crate) fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
        let (tell, result) = mpsc::channel();
        let ns = self.open();
        std::thread::spawn(move || {
            setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
            let _ = tell.send(job());
        });
        result
    }

    /// Runs a future on a further thread in the namespace, until the namespace is dropped. Returns once it waits for the
    /// first time, so that what it opens before is open.
    pub(crate) fn serve<F: Future<Output = ()>>(&self, server: impl FnOnce() -> F + Send + 'static) {
        let ns = self.open();
        let over = self.over.clone();
        let (tell, waits) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(over.run_until_cancelled(async {
                tokio::select! {
                    biased;
                    () = server() => {}
                    () = async { tell.send(()).unwrap() }.then(|()| std::future::pending()) => {}
                }
            }));
        });
        self.servers.lock().unwrap().push(thread);
        waits.recv().expect("the server panicked");
    }

    /// Runs shell commands in the namespace; they must succeed. Returns their output.
    pub(crate) fn sh(&self, script: &str) -> String {
        let script = script.to_owned();
        self.run(move || {
            let out = Command::new("sh").args(["-ec", &script]).output().unwrap();
            assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8_lossy(&out.stdout).into_owned()
        })
    }

    fn open(&self) -> File {
        File::open(self.path()).unwrap()
    }

    /// How other namespaces' commands name this one (`ip link set X netns HERE`).
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.over.cancel();
        for server in self.servers.get_mut().into_iter().flat_map(std::mem::take) {
            let _ = server.join();
        }
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
