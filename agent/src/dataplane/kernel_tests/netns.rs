//! Network namespaces for tests: each on a thread of its own, gone with it. Needs root and the `ip` and `nft` programs.

use std::fs::File;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A namespace and the thread that lives in it.
pub(crate) struct Netns {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
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
        let netns = Self { jobs: Some(jobs), thread: Some(thread), tid: tid.recv().unwrap() };
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
        let ns = File::open(format!("/proc/self/task/{}/ns/net", self.tid)).unwrap();
        std::thread::spawn(move || {
            setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
            let _ = tell.send(job());
        });
        result
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

    /// How other namespaces' commands name this one (`ip link set X netns HERE`).
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
