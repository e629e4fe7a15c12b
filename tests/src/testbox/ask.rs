//! Asks a server every question of [`super::questions`], and says what came back, byte for byte but for ids.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::questions::{Manner, Question, all};
use super::scripted::{digest, read_message, write_message};

/// How many questions at a time: far fewer than a client may have under way.
const AT_ONCE: usize = 24;
/// Longest answer that is written out.
const WRITTEN_OUT: usize = 600;

/// Whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct Ask {
    /// Each of these, `ADDRESS:PORT`.
    #[arg(long, required = true)]
    pub server: Vec<SocketAddr>,
    /// About names below this domain.
    #[arg(long)]
    pub domain: String,
    /// Only what any server understands.
    #[arg(long)]
    pub plain: bool,
    /// Only those called so. Who answers by ICMP does so a few times a second (`icmp_ratelimit`).
    #[arg(long)]
    pub only: Vec<String>,
    /// Milliseconds after which nothing more is waited for.
    #[arg(long, default_value_t = 1000)]
    pub timeout: u64,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The answers without their ids, in the order in which they came (datagrams: sorted); of long ones length and digest.
    pub answers: Vec<String>,
    /// Their ids.
    pub ids: Vec<u16>,
    /// Why there were no more: `timeout`, `refused`, `closed`, `unreachable`; empty: all are there.
    pub end: String,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
}

/// By `SERVER TRANSPORT NAME`.
pub type Outcomes = BTreeMap<String, Outcome>;

impl Ask {
    /// Asks, and says what came of it.
    ///
    /// # Errors
    /// When a thread cannot be joined.
    pub fn run(self) -> io::Result<Outcomes> {
        let asked = |question: &Question| {
            (question.plain || !self.plain)
                && (self.only.is_empty() || self.only.iter().any(|name| name == question.name))
        };
        let questions: Vec<Question> = all(&self.domain).into_iter().filter(asked).collect();
        let timeout = Duration::from_millis(self.timeout);
        let mut outcomes = Outcomes::new();
        for server in &self.server {
            for some in questions.chunks(AT_ONCE) {
                thread::scope(|scope| {
                    let asked: Vec<_> = some
                        .iter()
                        .map(|question| (question, scope.spawn(|| outcome(question, *server, timeout))))
                        .collect();
                    for (question, asked) in asked {
                        let outcome = asked.join().map_err(|_| io::Error::other(question.name))?;
                        let transport = if question.manner == Manner::Udp { "udp" } else { "tcp" };
                        outcomes.insert(format!("{} {transport} {}", server.ip(), question.name), outcome);
                    }
                    io::Result::Ok(())
                })?;
            }
        }
        Ok(outcomes)
    }
}

fn outcome(question: &Question, server: SocketAddr, timeout: Duration) -> Outcome {
    let (begun, mut answers) = (Instant::now(), Vec::new());
    let udp = question.manner == Manner::Udp;
    let asked = if udp { datagrams } else { connection };
    let end =
        asked(question, server, begun + timeout, &mut answers).err().map(|error| kind(&error)).unwrap_or_default();
    if udp {
        answers.sort();
    }
    Outcome {
        ids: answers
            .iter()
            .map(|answer| u16::from_be_bytes(answer.first_chunk().copied().unwrap_or_default()))
            .collect(),
        answers: answers.iter().map(|answer| shown(answer)).collect(),
        end,
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn datagrams(question: &Question, server: SocketAddr, until: Instant, answers: &mut Vec<Vec<u8>>) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    for message in &question.messages {
        socket.send(message)?;
    }
    let mut buffer = vec![0; 65_535];
    while answers.len() < question.answers {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.recv(&mut buffer)?;
        answers.push(buffer.get(..length).unwrap_or_default().to_vec());
    }
    Ok(())
}

fn connection(question: &Question, server: SocketAddr, until: Instant, answers: &mut Vec<Vec<u8>>) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    stream.set_nodelay(true)?;
    for message in &question.messages {
        if question.manner == Manner::TcpInPieces {
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
            for byte in length.iter().chain(message) {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(1));
            }
        } else {
            write_message(&mut stream, message)?;
        }
    }
    if question.manner == Manner::TcpAndFinish {
        stream.shutdown(Shutdown::Write)?;
    }
    while answers.len() < question.answers {
        stream.set_read_timeout(Some(left(until)?))?;
        answers.push(read_message(&mut stream)?);
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timeout".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "closed".to_owned()
        }
        _ => error.to_string(),
    }
}

/// An answer without its id.
fn shown(answer: &[u8]) -> String {
    let bytes = answer.get(2..).unwrap_or_default();
    if bytes.len() > WRITTEN_OUT {
        return format!("{} bytes, {:016x}", answer.len(), digest(answer));
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
