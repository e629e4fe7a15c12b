//! A DNS server whose every answer is a function of the query's bytes but its id: two answers differ where any byte of
//! the query did. What it does is told by the first label of the name.
//!
//! | label | answer |
//! |---|---|
//! | `nx`, `nodata`, `refused`, `servfail` | as called |
//! | `big` | some 3,900 bytes, over TCP 60,000 |
//! | `huge` | 20,000 bytes: fragments of a datagram |
//! | `trunc` | truncated, over TCP whole |
//! | `other` | with another question than was asked |
//! | `late` | after 300 ms |
//! | `close` | and the connection is closed |
//! | `silent` | none |
//! | any other | one record of the type that was asked for |

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Stop, dns};

/// Response codes (RFC 1035 4.1.1).
const FORMERR: u8 = 1;
const SERVFAIL: u8 = 2;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;
/// Length of a message's header.
const HEADER: usize = 12;
/// How long `late` answers take.
const LATE: Duration = Duration::from_millis(300);
/// How long a forwarded query's answer is waited for.
const FORWARDED: Duration = Duration::from_secs(2);

/// Where it listens.
#[derive(Debug, Clone, clap::Args)]
pub struct Scripted {
    /// Addresses, over UDP and TCP.
    #[arg(long, required = true)]
    pub listen: Vec<IpAddr>,
    /// On which port.
    #[arg(long, default_value_t = 53)]
    pub port: u16,
    /// Listens, and never answers.
    #[arg(long)]
    pub silent: bool,
    /// Datagrams for names outside of `zone` are passed on to this server.
    #[arg(long, requires = "zone")]
    pub forward: Option<SocketAddr>,
    /// Its own domain, where it forwards.
    #[arg(long)]
    pub zone: Option<String>,
}

/// What is done about a query.
#[derive(Debug, Default, PartialEq, Eq)]
struct Script {
    after: Duration,
    messages: Vec<Vec<u8>>,
    close: bool,
}

impl Scripted {
    /// Answers until told to stop.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn run(self, stop: &Stop) -> io::Result<()> {
        let server = Arc::new(self);
        for address in &server.listen {
            let datagrams = Arc::new(UdpSocket::bind((*address, server.port))?);
            let listener = TcpListener::bind((*address, server.port))?;
            let (udp, tcp) = (Arc::clone(&server), Arc::clone(&server));
            thread::spawn(move || udp.datagrams(&datagrams));
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let server = Arc::clone(&tcp);
                    thread::spawn(move || server.connection(stream));
                }
            });
        }
        while !stop.requested() {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn datagrams(self: &Arc<Self>, socket: &Arc<UdpSocket>) {
        let mut buffer = vec![0; 65_535];
        loop {
            // An error is the word on an earlier answer that nobody took.
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            let Some(message) = buffer.get(..length).filter(|_| !self.silent).map(<[u8]>::to_vec) else { continue };
            if let Some(upstream) = self.forward.filter(|_| !self.owns(&message)) {
                let socket = Arc::clone(socket);
                thread::spawn(move || {
                    if let Ok(answer) = forwarded(upstream, &message) {
                        let _ = socket.send_to(&answer, peer);
                    }
                });
                continue;
            }
            let script = script(&message, false);
            if script.after.is_zero() {
                script.messages.iter().for_each(|answer| drop(socket.send_to(answer, peer)));
                continue;
            }
            let socket = Arc::clone(socket);
            thread::spawn(move || {
                thread::sleep(script.after);
                script.messages.iter().for_each(|answer| drop(socket.send_to(answer, peer)));
            });
        }
    }

    /// Answers what comes on a connection, each when it is due, until the client has said all.
    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let answers = Arc::new(Mutex::new(stream.try_clone()?));
        loop {
            let message = read_message(&mut stream)?;
            if self.silent {
                continue;
            }
            let Script { after, messages, close } = script(&message, true);
            let answers = Arc::clone(&answers);
            let send = move || -> io::Result<()> {
                thread::sleep(after);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                messages.iter().try_for_each(|answer| write_message(&mut *answers, answer))
            };
            if after.is_zero() {
                send()?;
            } else {
                thread::spawn(send);
            }
            if close {
                return stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    fn owns(&self, message: &[u8]) -> bool {
        let zone = self.zone.as_deref().unwrap_or_default();
        dns::question(message).is_none_or(|(name, ..)| name.ends_with(zone))
    }
}

/// One message behind its length.
pub(super) fn read_message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    from.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    from.read_exact(&mut message)?;
    Ok(message)
}

/// The same the other way, in one write.
pub(super) fn write_message(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), message].concat())
}

fn forwarded(upstream: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(upstream)?;
    socket.set_read_timeout(Some(FORWARDED))?;
    socket.send(message)?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn script(message: &[u8], tcp: bool) -> Script {
    if message.len() < HEADER {
        // Only over TCP does anybody say anything to this.
        let mut padded = message.to_vec();
        padded.resize(HEADER, 0);
        return Script { messages: if tcp { vec![echo(&padded, FORMERR)] } else { Vec::new() }, ..Script::default() };
    }
    let (flags, opcode) = (byte(message, 2), (byte(message, 2) >> 3) & 0x0f);
    if flags & 0x80 != 0 {
        return Script::default();
    }
    if opcode != 0 {
        return just(echo(message, if opcode == 2 { NOTIMP } else { 0 }));
    }
    let asked = dns::question(message).filter(|_| word(message, 4) == 1);
    let Some((name, kind, end)) = asked else { return just(echo(message, FORMERR)) };
    let reply = |code, records: &[usize]| answer(message, end, kind, code, records);
    match name.split('.').next().unwrap_or_default() {
        "silent" => Script::default(),
        "nx" => just(reply(dns::NXDOMAIN, &[])),
        "nodata" => just(reply(0, &[])),
        "refused" => just(reply(REFUSED, &[])),
        "servfail" => just(reply(SERVFAIL, &[])),
        "late" => Script { after: LATE, ..just(reply(0, &[16])) },
        "close" => Script { close: true, ..just(reply(0, &[16])) },
        "big" => just(reply(0, &vec![251; if tcp { 228 } else { 14 }])),
        "huge" => just(reply(0, &[251; 76])),
        "trunc" if !tcp => {
            let mut cut = reply(0, &[]);
            set(&mut cut, 2, |flags| flags | 0x02);
            just(cut)
        }
        "trunc" => just(reply(0, &[200; 20])),
        "other" => {
            let mut wrong = reply(0, &[16]);
            set(&mut wrong, HEADER + 1, |letter| letter ^ 0x03);
            just(wrong)
        }
        // A transfer: several messages.
        _ if matches!(kind, 251 | 252) && tcp => {
            Script { messages: (1..=3).map(|part| reply(0, &vec![40; part * 10])).collect(), ..Script::default() }
        }
        _ => just(reply(0, &[16])),
    }
}

fn just(answer: Vec<u8>) -> Script {
    Script { messages: vec![answer], ..Script::default() }
}

/// The query as an answer.
fn echo(message: &[u8], code: u8) -> Vec<u8> {
    let mut echo = message.to_vec();
    set(&mut echo, 2, |flags| flags | 0x80);
    set(&mut echo, 3, |flags| flags & 0xf0 | code);
    // Of what is longer the rest is in the digest.
    echo.truncate(4096);
    echo.extend(digest(message).to_be_bytes());
    echo
}

/// An answer with records of so many bytes, whose contents tell what was asked; where there are none, with the zone's head.
/// What follows the question comes back behind them.
fn answer(message: &[u8], end: usize, kind: u16, code: u8, records: &[usize]) -> Vec<u8> {
    let rest = message.get(end..).unwrap_or_default();
    // What does not fit, such as a question's padding of 65,000 bytes, is in the digest.
    let rest = if rest.len() <= 512 { rest } else { &[] };
    let mut reply = message.get(..end).unwrap_or_default().to_vec();
    set(&mut reply, 2, |flags| flags | 0x84);
    set(&mut reply, 3, |flags| flags | 0x80 | code);
    let (answers, authorities) = if records.is_empty() { (0, 1) } else { (records.len(), 0) };
    let authorities = authorities + if rest.is_empty() { 0 } else { word(message, 8) };
    let additional = if rest.is_empty() { 0 } else { word(message, 10) };
    for (at, count) in [(6, u16::try_from(answers).unwrap_or(u16::MAX)), (8, authorities), (10, additional)] {
        let [high, low] = count.to_be_bytes();
        set(&mut reply, at, |_| high);
        set(&mut reply, at + 1, |_| low);
    }
    let class = [byte(message, end - 2), byte(message, end - 1)];
    let digest = digest(message);
    for length in records {
        // One type can be of any length; where ANY is asked for, it comes.
        let kind = if matches!(kind, 251 | 252 | 255) || *length > 16 { 16 } else { kind };
        let data = data(kind, digest, *length);
        record(&mut reply, kind, class, digest, &data);
    }
    if records.is_empty() {
        let soa = [&[0xc0, 12, 0xc0, 12][..], &digest.to_be_bytes(), &[0, 0, 0, 60].repeat(3)].concat();
        record(&mut reply, 6, class, digest, &soa);
    }
    reply.extend(rest);
    reply
}

fn record(reply: &mut Vec<u8>, kind: u16, class: [u8; 2], digest: u64, data: &[u8]) {
    reply.extend([0xc0, 12]);
    reply.extend(kind.to_be_bytes());
    reply.extend(class);
    // The time to live tells of the query, too; its highest bit must be clear (RFC 2181 8).
    reply.extend(((digest as u32) & 0x7fff_ffff).to_be_bytes());
    reply.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    reply.extend(data);
}

/// A record's data, right for the types that others read on the way.
fn data(kind: u16, digest: u64, length: usize) -> Vec<u8> {
    let bytes = digest.to_be_bytes();
    let name = [0xc0, 12];
    match kind {
        1 => bytes.iter().copied().take(4).collect(),
        28 => bytes.repeat(2),
        2 | 5 | 12 => name.to_vec(),
        6 => [&name[..], &name, &bytes, &[0, 0, 0, 60].repeat(3)].concat(),
        15 => [&[0, 10][..], &name].concat(),
        33 => [&[0, 10, 0, 20, 0, 80][..], &[1, b'h', 0]].concat(),
        65 => vec![0, 1, 0],
        257 => b"\x00\x05issueca.test".to_vec(),
        _ => {
            // TXT: one string.
            let text = format!("{digest:016x}").into_bytes();
            let text: Vec<u8> = text.iter().copied().cycle().take(length).collect();
            [&[u8::try_from(length).unwrap_or(u8::MAX)][..], &text].concat()
        }
    }
}

/// FNV-1a over all of a message but its id.
pub(super) fn digest(message: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    message.get(2..).unwrap_or_default().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn byte(message: &[u8], at: usize) -> u8 {
    message.get(at).copied().unwrap_or(0)
}

fn word(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([byte(message, at), byte(message, at + 1)])
}

fn set(message: &mut [u8], at: usize, with: impl Fn(u8) -> u8) {
    if let Some(byte) = message.get_mut(at) {
        *byte = with(*byte);
    }
}

#[cfg(test)]
mod tests;
