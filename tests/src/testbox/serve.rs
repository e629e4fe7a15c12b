//! A server that answers who it is and who asked.
//!
//! Over TCP it speaks HTTP/1: any path is answered 200 with `NAME PEER`, `/healthz` is answered 200 or, while a given
//! file exists, 503. Over UDP every datagram is answered with `NAME PEER`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Stop;

/// What to serve.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// Who this server says it is.
    #[arg(long)]
    pub name: String,
    /// Where it listens, on every address.
    #[arg(long)]
    pub port: u16,
    /// Answer datagrams instead of connections.
    #[arg(long)]
    pub udp: bool,
    /// Milliseconds it goes on serving after SIGTERM.
    #[arg(long, default_value_t = 0)]
    pub linger: u64,
    /// Milliseconds before it begins to listen.
    #[arg(long, default_value_t = 0)]
    pub delay: u64,
    /// /healthz answers 503 while this file exists.
    #[arg(long)]
    pub sick_while: Option<PathBuf>,
}

/// What a server says when it is told to stop.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stopped {
    /// When that was, in nanoseconds since the Unix epoch.
    pub signalled_ns: u64,
}

impl Serve {
    /// Serves until told to stop, and as long after that as it should linger.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn run(self, stop: &Stop) -> io::Result<Stopped> {
        thread::sleep(Duration::from_millis(self.delay));
        let linger = Duration::from_millis(self.linger);
        let (any, server) = ((std::net::Ipv4Addr::UNSPECIFIED, self.port), Arc::new(self));
        if server.udp {
            let socket = UdpSocket::bind(any)?;
            thread::spawn(move || server.datagrams(&socket));
        } else {
            let listener = TcpListener::bind(any)?;
            thread::spawn(move || server.connections(&listener));
        }
        while !stop.requested() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(linger);
        let since_epoch = stop.when().and_then(|when| when.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(Stopped { signalled_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX) })
    }

    fn datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(self.answer(peer).as_bytes(), peer);
        }
    }

    fn connections(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(self);
            thread::spawn(move || server.connection(stream));
        }
    }

    /// Answers requests until the client closes.
    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let peer = stream.peer_addr()?;
        let mut requests = BufReader::new(stream.try_clone()?);
        while let Some(path) = read_request(&mut requests)? {
            let sick = path == "/healthz" && self.sick_while.as_ref().is_some_and(|file| file.exists());
            let status = if sick { "503 Service Unavailable" } else { "200 OK" };
            let body = self.answer(peer);
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        }
        Ok(())
    }

    fn answer(&self, peer: SocketAddr) -> String {
        format!("{} {peer}\n", self.name)
    }
}

/// The path of the next request; `None` once the client has closed.
fn read_request(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    while line.trim_end() != "" {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(path))
}
