//! A real etcd of one member, on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Running, eventually};

/// Longest that a member may take to start; it elects itself within two seconds.
const START: Duration = Duration::from_secs(30);

/// A running etcd. Dropped, it is killed; its data stay in its directory.
#[derive(Debug)]
pub struct Etcd {
    process: Running,
    dir: PathBuf,
    /// Where clients ask.
    clients: SocketAddr,
    /// Where other members would.
    peers: SocketAddr,
}

impl Etcd {
    /// Starts it on free ports, with data and log in `dir`, and waits until it is healthy.
    ///
    /// # Errors
    /// When the program `etcd` is missing or does not come up; the error carries the end of its log.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        // Both are held until both are known, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let [clients, peers] = free.map(|listener| listener.and_then(|listener| listener.local_addr()));
        let (clients, peers) = (clients?, peers?);
        let process = spawn(dir, clients, peers)?;
        let mut etcd = Self { process, dir: dir.to_owned(), clients, peers };
        etcd.is_healthy()?;
        Ok(etcd)
    }

    /// The address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.clients)
    }

    /// SIGKILL, as a power cut.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Starts it again where it was, after [`Self::kill`], with the data that it had.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.dir, self.clients, self.peers)?;
        self.is_healthy()
    }

    fn is_healthy(&mut self) -> anyhow::Result<()> {
        let (process, clients) = (&mut self.process, self.clients);
        let healthy = eventually(START, "etcd to be healthy", || {
            let health = health(clients);
            ensure!(process.alive() || health.is_ok(), "it has ended");
            health
        });
        healthy.map(drop).with_context(|| self.process.log_tail())
    }
}

/// Asks for `/health`, which is well once there is a leader.
fn health(clients: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(clients)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    ensure!(answer.contains("\"health\":\"true\""), "{answer}");
    Ok(())
}

fn spawn(dir: &Path, clients: SocketAddr, peers: SocketAddr) -> anyhow::Result<Running> {
    let (clients, peers) = (format!("http://{clients}"), format!("http://{peers}"));
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args(["--name", "only", "--initial-cluster", &format!("only={peers}")])
        .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        // Debian's etcd 3.4 starts on arm64 only if told so; elsewhere it does not look at this.
        .env("ETCD_UNSUPPORTED_ARCH", "arm64");
    Running::start(&dir.join("etcd.log"), &mut command).context("is it installed (tests/install)?")
}
