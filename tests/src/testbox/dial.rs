//! A client that opens a connection (or sends a datagram) per call, asks who answered, and counts.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Stop;

/// Whom to call, how often.
#[derive(Debug, Clone, clap::Args)]
pub struct Dial {
    /// `NAME:PORT` or `ADDRESS:PORT`.
    #[arg(long)]
    pub target: String,
    /// How many calls; absent: until SIGTERM.
    #[arg(long)]
    pub count: Option<u64>,
    /// How many callers at once.
    #[arg(long, default_value_t = 1)]
    pub concurrency: u64,
    /// Calls per second of all callers together; absent: as fast as they can.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Send datagrams instead of opening connections.
    #[arg(long)]
    pub udp: bool,
    /// Look the name up once, not for each call.
    #[arg(long)]
    pub resolve_once: bool,
    /// End with an error where a call failed.
    #[arg(long)]
    pub strict: bool,
    /// Milliseconds after which a call has failed.
    #[arg(long, default_value_t = 3000)]
    pub timeout: u64,
}

/// What came of the calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Calls that were answered.
    pub ok: u64,
    /// Calls that were not.
    pub failed: u64,
    /// Answers by the name that gave them.
    pub answers: BTreeMap<String, u64>,
    /// The addresses from which the servers saw us.
    pub seen_as: BTreeMap<String, u64>,
    /// Failures by kind: `resolve`, `refused`, `timeout`, `reset`, or what the error says.
    pub failures: BTreeMap<String, u64>,
    /// How long it took until the connection stood (the datagram was answered), in microseconds.
    pub connect_us: Percentiles,
    /// How long the failed calls took, in microseconds.
    pub failed_us: Percentiles,
    /// Calls by the second they ended in, counted from the first call: answered, failed.
    pub timeline: Vec<(u64, u64)>,
    #[serde(skip)]
    connects: Vec<u64>,
    #[serde(skip)]
    fails: Vec<u64>,
}

/// A distribution, by nearest rank.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: u64,
    /// Nine of ten are below.
    pub p90: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Percentiles {
    /// Of these values, which are sorted by it. Zero throughout when there are none.
    #[must_use]
    pub fn of(values: &mut [u64]) -> Self {
        values.sort_unstable();
        let rank = |percent: usize| {
            let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
            values.get(index).copied().unwrap_or(0)
        };
        Self { p50: rank(50), p90: rank(90), p99: rank(99), max: rank(100) }
    }
}

struct Answer {
    name: String,
    seen_as: String,
    connect: Duration,
}

impl Dial {
    /// Makes the calls and says what came of them.
    ///
    /// # Errors
    /// When the name is to be looked up once and cannot be.
    pub fn run(self, stop: &Stop) -> io::Result<Calls> {
        let fixed = if self.resolve_once { Some(lookup(&self.target)?) } else { None };
        let (begun, taken, calls) = (Instant::now(), AtomicU64::new(0), Mutex::new(Calls::default()));
        thread::scope(|scope| {
            for _ in 0..self.concurrency {
                scope.spawn(|| {
                    while !stop.requested() {
                        let turn = taken.fetch_add(1, Ordering::Relaxed);
                        if self.count.is_some_and(|count| turn >= count) {
                            break;
                        }
                        if let Some(rate) = self.rate {
                            let due = Duration::from_micros(turn * 1_000_000 / rate.max(1));
                            thread::sleep(due.saturating_sub(begun.elapsed()));
                        }
                        let started = Instant::now();
                        let outcome = self.call(fixed);
                        let mut calls = calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        calls.record(outcome, started.elapsed(), begun.elapsed());
                    }
                });
            }
        });
        Ok(calls.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).summed())
    }

    fn call(&self, fixed: Option<SocketAddr>) -> Result<Answer, String> {
        let timeout = Duration::from_millis(self.timeout);
        let address = match fixed {
            Some(address) => address,
            None => lookup(&self.target).map_err(|_| "resolve".to_owned())?,
        };
        let started = Instant::now();
        let mut text = String::new();
        let connect = if self.udp {
            text = datagram(address, timeout).map_err(|error| kind(&error))?;
            started.elapsed()
        } else {
            let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(|error| kind(&error))?;
            let connect = started.elapsed();
            request(&mut stream, timeout, &mut text).map_err(|error| format!("answer: {}", kind(&error)))?;
            connect
        };
        let mut words = text.lines().last().unwrap_or_default().split(' ');
        match (words.next(), words.next().and_then(|peer| peer.rsplit_once(':'))) {
            (Some(name), Some((seen_as, _))) => {
                Ok(Answer { name: name.to_owned(), seen_as: seen_as.to_owned(), connect })
            }
            _ => Err("answer: not understood".to_owned()),
        }
    }
}

/// The first IPv4 address, by the C library's resolver.
fn lookup(target: &str) -> io::Result<SocketAddr> {
    let mut found = target.to_socket_addrs()?;
    found.find(SocketAddr::is_ipv4).ok_or_else(|| io::Error::other(format!("{target} has no IPv4 address")))
}

fn datagram(to: SocketAddr, timeout: Duration) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(b"who are you?")?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

fn request(stream: &mut TcpStream, timeout: Duration, text: &mut String) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_to_string(text).map(drop)
}

fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timeout".to_owned(),
        _ => error.to_string(),
    }
}

impl Calls {
    fn record(&mut self, outcome: Result<Answer, String>, took: Duration, since_begin: Duration) {
        let second = usize::try_from(since_begin.as_secs()).unwrap_or(usize::MAX).min(86_400);
        if self.timeline.len() <= second {
            self.timeline.resize(second + 1, (0, 0));
        }
        let (answered, failed) = (u64::from(outcome.is_ok()), u64::from(outcome.is_err()));
        if let Some(entry) = self.timeline.get_mut(second) {
            *entry = (entry.0 + answered, entry.1 + failed);
        }
        self.ok += answered;
        self.failed += failed;
        match outcome {
            Ok(answer) => {
                *self.answers.entry(answer.name).or_default() += 1;
                *self.seen_as.entry(answer.seen_as).or_default() += 1;
                self.connects.push(micros(answer.connect));
            }
            Err(kind) => {
                *self.failures.entry(kind).or_default() += 1;
                self.fails.push(micros(took));
            }
        }
    }

    fn summed(mut self) -> Self {
        self.connect_us = Percentiles::of(&mut self.connects);
        self.failed_us = Percentiles::of(&mut self.fails);
        self
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
