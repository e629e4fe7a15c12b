//! Requests and answers: a server, and closed-loop clients that measure it.
//!
//! Both speak just enough HTTP/1.1 for an HTTP proxy between them: one small GET at a time, one small answer. Each side
//! is one thread, so that the client, the server and a proxy each find a core.

use std::net::SocketAddrV4;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::stats::{Latencies, Sample};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
const REQUEST_END: &[u8] = b"\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 32\r\n\r\nthe answer to one small request.";
const ANSWER_END: &[u8] = b"\r\n\r\nthe answer to one small request.";
/// A message with the headers that a proxy adds stays below this.
const LARGEST: usize = 2048;
const BACKLOG: u32 = 4096;
/// The load runs this long before it is measured.
const WARM_UP: Duration = Duration::from_millis(50);
/// A connection or an answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Answers at these addresses until told to stop. Says when it listens.
pub(crate) fn serve(at: &[SocketAddrV4], listening: &mpsc::Sender<()>, stopped: oneshot::Receiver<()>) -> Result<()> {
    runtime()?.block_on(async {
        let mut accepting = JoinSet::new();
        for address in at {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind((*address).into()).with_context(|| format!("cannot bind {address}"))?;
            accepting.spawn(accept(socket.listen(BACKLOG)?));
        }
        listening.send(())?;
        // An error means that the sender is gone: that is the signal.
        let _ = stopped.await;
        Ok(())
    })
}

async fn accept(listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    }
}

async fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; LARGEST];
    while read_until(&mut stream, &mut buffer, REQUEST_END).await? {
        stream.write_all(ANSWER).await?;
    }
    Ok(())
}

/// Reads one message, the last of whose bytes are known. False at the end of the stream.
async fn read_until(stream: &mut TcpStream, buffer: &mut [u8; LARGEST], end: &[u8]) -> Result<bool> {
    let mut filled = 0;
    loop {
        let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) else {
            bail!("a message is too long")
        };
        match stream.read(free).await? {
            0 if filled == 0 => return Ok(false),
            0 => bail!("a message broke off"),
            read => filled += read,
        }
        if buffer.get(..filled).is_some_and(|message| message.ends_with(end)) {
            return Ok(true);
        }
    }
}

async fn ask(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; LARGEST];
    stream.write_all(REQUEST).await?;
    if read_until(stream, &mut buffer, ANSWER_END).await? { Ok(()) } else { bail!("closed without an answer") }
}

async fn dial(target: SocketAddrV4) -> Result<TcpStream> {
    let stream = TcpStream::connect(target).await.with_context(|| format!("cannot connect to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The span within which what ends is counted.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Instant,
    to: Instant,
}

impl Span {
    fn from_now(length: Duration) -> Self {
        let from = Instant::now() + WARM_UP;
        Self { from, to: from + length }
    }
}

/// How a client loads the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Requests on connections that are kept.
    Kept,
    /// A connection for every request.
    Fresh,
}

/// Loads the targets in turn with this many clients at a time, each waiting for its answer before it asks again, and
/// counts what is answered within `length`. Runs in the calling thread and its namespace.
pub(crate) fn load(load: Load, targets: &[SocketAddrV4], clients: usize, length: Duration) -> Result<Sample> {
    runtime()?.block_on(async {
        let span = Span::from_now(length);
        let mut running = JoinSet::new();
        for (client, target) in (0..clients).zip(targets.iter().copied().cycle()) {
            let targets: Vec<_> = targets.iter().copied().cycle().skip(client).take(targets.len()).collect();
            running.spawn(async move {
                match load {
                    Load::Kept => kept(target, span).await,
                    Load::Fresh => fresh(&targets, span).await,
                }
            });
        }
        let all = async {
            let mut latencies = Latencies::default();
            while let Some(done) = running.join_next().await {
                latencies.merge(done??);
            }
            anyhow::Ok(latencies)
        };
        let latencies = tokio::time::timeout(WARM_UP + length + PATIENCE, all).await.context("the load hangs")??;
        Sample::new(latencies, length)
    })
}

async fn kept(target: SocketAddrV4, span: Span) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    let mut stream = dial(target).await?;
    loop {
        let asked = Instant::now();
        ask(&mut stream).await?;
        let answered = Instant::now();
        if answered >= span.to {
            return Ok(latencies);
        }
        if answered >= span.from {
            latencies.push(answered - asked);
        }
    }
}

async fn fresh(targets: &[SocketAddrV4], span: Span) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for &target in targets.iter().cycle() {
        let asked = Instant::now();
        let mut stream = dial(target).await?;
        ask(&mut stream).await?;
        drop(stream);
        let answered = Instant::now();
        if answered >= span.to {
            break;
        }
        if answered >= span.from {
            latencies.push(answered - asked);
        }
    }
    Ok(latencies)
}

/// Connects to a target so many times, one after the other, and measures each `connect()`: a handshake, of which the
/// first packet alone passes the rules.
pub(crate) fn connects(target: SocketAddrV4, times: usize) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for _ in 0..times {
        let begun = Instant::now();
        let stream = std::net::TcpStream::connect_timeout(&target.into(), PATIENCE)
            .with_context(|| format!("cannot connect to {target}"))?;
        latencies.push(begun.elapsed());
        drop(stream);
    }
    Ok(latencies)
}

/// Whether one request to the target is answered within a second.
pub(crate) fn answers(target: SocketAddrV4) -> Result<bool> {
    runtime()?.block_on(async {
        let once = async { ask(&mut dial(target).await?).await };
        Ok(tokio::time::timeout(Duration::from_secs(1), once).await.is_ok_and(|answered| answered.is_ok()))
    })
}
