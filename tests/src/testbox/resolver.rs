//! The resolver of the world outside: knows the names below one domain, and that no other name exists.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::{Stop, dns};

/// What it answers.
#[derive(Debug, Clone, clap::Args)]
pub struct Resolver {
    /// Where it listens, over UDP and TCP.
    #[arg(long)]
    pub listen: IpAddr,
    /// On which port.
    #[arg(long, default_value_t = 53)]
    pub port: u16,
    /// The domain whose names exist.
    #[arg(long)]
    pub domain: String,
    /// The address of all of them.
    #[arg(long)]
    pub address: Ipv4Addr,
}

impl Resolver {
    /// Answers until told to stop.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn run(self, stop: &Stop) -> io::Result<()> {
        let datagrams = UdpSocket::bind((self.listen, self.port))?;
        let listener = TcpListener::bind((self.listen, self.port))?;
        let (udp, tcp) = (self.clone(), self);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = datagrams.recv_from(&mut buffer) {
                if let Some(reply) = buffer.get(..length).and_then(|message| udp.answer(message)) {
                    let _ = datagrams.send_to(&reply, peer);
                }
            }
        });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = tcp.connection(stream);
            }
        });
        while !stop.requested() {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (name, kind, _) = dns::question(message)?;
        let ours = name == self.domain || name.strip_suffix(&self.domain).is_some_and(|rest| rest.ends_with('.'));
        let addresses: &[Ipv4Addr] = if ours && kind == 1 { &[self.address] } else { &[] };
        dns::answer(message, if ours { 0 } else { dns::NXDOMAIN }, addresses)
    }

    /// Answers one question: over TCP a message follows its length.
    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message)?;
        let Some(reply) = self.answer(&message) else { return Ok(()) };
        stream.write_all(&u16::try_from(reply.len()).unwrap_or(u16::MAX).to_be_bytes())?;
        stream.write_all(&reply)
    }
}
