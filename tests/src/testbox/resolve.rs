//! A DNS client in the manner of musl: asks the nameserver of /etc/resolv.conf over UDP, again and again, from one port
//! or a new one each time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Stop, dns};

/// What to ask, how often.
#[derive(Debug, Clone, clap::Args)]
pub struct Resolve {
    /// The name.
    pub name: String,
    /// The record type's number: 1 for A, 28 for AAAA.
    #[arg(long = "type", default_value_t = 1)]
    pub kind: u16,
    /// Whom to ask, as `ADDRESS:PORT`; absent: the first nameserver of /etc/resolv.conf.
    #[arg(long)]
    pub server: Option<SocketAddr>,
    /// Ask from one port all the time.
    #[arg(long)]
    pub keep_port: bool,
    /// How many times; absent: until SIGTERM.
    #[arg(long)]
    pub count: Option<u64>,
    /// Milliseconds from one question to the next.
    #[arg(long, default_value_t = 100)]
    pub interval: u64,
    /// Milliseconds after which a question is given up.
    #[arg(long, default_value_t = 1000)]
    pub timeout: u64,
}

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When it was asked, in milliseconds since the first.
    pub at_ms: u64,
    /// How long the answer took, in microseconds.
    pub took_us: u64,
    /// The answer's code; `None`: there was no answer in time.
    pub rcode: Option<u8>,
    /// The addresses in the answer.
    pub addresses: Vec<Ipv4Addr>,
}

impl Resolve {
    /// Asks, and says what came of each question.
    ///
    /// # Errors
    /// When there is no nameserver to ask, or no socket to ask from.
    pub fn run(self, stop: &Stop) -> io::Result<Vec<Asked>> {
        let server = match self.server {
            Some(server) => server,
            None => nameserver(&std::fs::read_to_string("/etc/resolv.conf")?)?,
        };
        let open = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(server)?;
            Ok(socket)
        };
        let (begun, mut socket, mut asked) = (Instant::now(), open()?, Vec::new());
        let mut next = Duration::ZERO;
        for id in 0..self.count.unwrap_or(u64::MAX) {
            std::thread::sleep(next.saturating_sub(begun.elapsed()));
            if stop.requested() {
                break;
            }
            if !self.keep_port {
                socket = open()?;
            }
            let started = begun.elapsed();
            let answer = self.ask(&socket, (id % 65536) as u16)?;
            let took = begun.elapsed().saturating_sub(started);
            let (rcode, addresses) = answer.map_or((None, Vec::new()), |(rcode, found)| (Some(rcode), found));
            let (at_ms, took_us) = (millis(started), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            asked.push(Asked { at_ms, took_us, rcode, addresses });
            next = started + Duration::from_millis(self.interval);
        }
        Ok(asked)
    }

    fn ask(&self, socket: &UdpSocket, id: u16) -> io::Result<Option<(u8, Vec<Ipv4Addr>)>> {
        let deadline = Instant::now() + Duration::from_millis(self.timeout);
        // A closed port shows as an error of the next call on the socket; either way nobody answered.
        if socket.send(&dns::query(id, &self.name, self.kind)).is_err() {
            return Ok(None);
        }
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            socket.set_read_timeout(Some(left))?;
            let Ok(length) = socket.recv(&mut buffer) else { return Ok(None) };
            match buffer.get(..length).and_then(dns::reply) {
                Some((of, rcode, addresses)) if of == id => return Ok(Some((rcode, addresses))),
                _ => {}
            }
        }
    }
}

fn nameserver(resolv_conf: &str) -> io::Result<SocketAddr> {
    let servers = resolv_conf.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let first: Option<IpAddr> = servers.filter_map(|server| server.trim().parse().ok()).next();
    first.map(|ip| (ip, 53).into()).ok_or_else(|| io::Error::other("/etc/resolv.conf names no nameserver"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
