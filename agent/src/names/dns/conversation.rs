//! One client's TCP connection. Mesh names are answered here; the rest goes over one connection to the server that was
//! asked, opened with the first such query, and every message comes back as it is, of a zone transfer as many as there are.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf};
use tokio::time::{sleep, timeout};
use tokio_util::bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tracing::debug;

use super::asker::Place;
use super::forward::{MAX_MESSAGE, framing};
use super::responder::{QueryOutcome, Responder};

/// How long a connection may lie still, or a client leave an answer unread. Longer than name servers wait (RFC 7766
/// 6.2.3): who closes is theirs to say.
const IDLE: Duration = Duration::from_secs(30);

/// A connection that is on its way.
type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The connection to the server that was asked.
enum Link {
    /// Nothing was to be relayed yet.
    None,
    /// On its way.
    Opening(Connecting),
    /// There.
    Open(FramedRead<OwnedReadHalf, LengthDelimitedCodec>, OwnedWriteHalf),
}

/// What happens next.
enum Next {
    Query(Option<io::Result<BytesMut>>),
    Opened(io::Result<TcpStream>),
    Written(io::Result<usize>),
    Answer(Option<io::Result<BytesMut>>),
    Idle,
}

/// What comes of it.
enum Step {
    /// This goes to the client.
    Send(Vec<u8>),
    /// Nothing yet.
    On,
    /// The connection ends.
    End,
    /// It ends since the server that was asked cannot be reached: as abruptly as it would have without meshdog.
    Reset,
}

/// One connection's state.
struct Conversation<'a> {
    place: Place,
    responder: &'a Responder,
    link: Link,
    /// Framed queries that the server is to get.
    waiting: BytesMut,
    /// Whether the client may say more.
    open: bool,
}

/// Serves a connection until the client has closed and has its answers, the server closes, either breaks the framing, or
/// nothing is said for long.
pub(super) async fn converse(mut stream: TcpStream, place: Place, responder: &Responder) {
    if talk(&mut stream, place, responder).await == End::Reset {
        // Closed with a reset: the kernel has nothing left to send.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// How a connection ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn talk(stream: &mut TcpStream, place: Place, responder: &Responder) -> End {
    let mut answered = false;
    let (input, output) = stream.split();
    let (mut queries, mut answers) = (framing().new_read(input), framing().new_write(output));
    let mut conversation = Conversation { place, responder, link: Link::None, waiting: BytesMut::new(), open: true };
    loop {
        let next = conversation.next(&mut queries).await;
        match conversation.step(next) {
            Step::Send(answer) => {
                answered = true;
                if !matches!(timeout(IDLE, answers.send(answer.as_slice())).await, Ok(Ok(()))) {
                    return End::Closed;
                }
            }
            Step::On => {}
            // A reset would take answers with it that the client has not read yet.
            Step::Reset if !answered => return End::Reset,
            Step::End | Step::Reset => return End::Closed,
        }
        if !conversation.goes_on().await {
            return End::Closed;
        }
    }
}

impl Conversation<'_> {
    async fn next(&mut self, queries: &mut FramedRead<ReadHalf<'_>, LengthDelimitedCodec>) -> Next {
        // Those that wait for their server are bounded; further ones wait in the socket.
        let reads = self.open && self.waiting.len() <= MAX_MESSAGE;
        let (mut opening, mut from, mut to) = (None, None, None);
        match &mut self.link {
            Link::Open(input, output) => (from, to) = (Some(input), Some(output)),
            Link::Opening(connecting) => opening = Some(connecting),
            Link::None => {}
        }
        tokio::select! {
            query = queries.next(), if reads => Next::Query(query),
            opened = opened(opening) => Next::Opened(opened),
            written = written(to, &mut self.waiting) => Next::Written(written),
            answer = answered(from) => Next::Answer(answer),
            () = sleep(IDLE) => Next::Idle,
        }
    }

    fn step(&mut self, next: Next) -> Step {
        match next {
            Next::Query(Some(Ok(query))) => match self.responder.receive(self.place, &query) {
                QueryOutcome::Reply(answer) => Step::Send(answer),
                // What is no query is the server's to judge: some end the connection, some pass over it.
                QueryOutcome::Silence | QueryOutcome::Relay => self.relay(&query),
            },
            Next::Query(None) => {
                self.open = false;
                Step::On
            }
            Next::Opened(Ok(stream)) => {
                let (input, output) = stream.into_split();
                self.link = Link::Open(framing().new_read(input), output);
                Step::On
            }
            Next::Opened(Err(error)) | Next::Written(Err(error)) => {
                debug!(%error, "name server cannot be reached");
                Step::Reset
            }
            Next::Written(Ok(_)) => Step::On,
            Next::Answer(Some(Ok(answer))) => {
                self.responder.relayed(&answer);
                Step::Send(answer.to_vec())
            }
            Next::Query(Some(Err(_))) | Next::Answer(None | Some(Err(_))) | Next::Idle => Step::End,
        }
    }

    /// Has a query wait for the server that was asked.
    fn relay(&mut self, query: &[u8]) -> Step {
        let (Some(server), Ok(length)) = (self.responder.server(self.place), u16::try_from(query.len())) else {
            return Step::End;
        };
        self.waiting.put_u16(length);
        self.waiting.extend_from_slice(query);
        if matches!(self.link, Link::None) {
            self.link = Link::Opening(Box::pin(self.responder.forwarder.connect(server)));
        }
        Step::On
    }

    /// Whether more is to come. Where the client has said all it wants, the server is told so once it knows everything.
    async fn goes_on(&mut self) -> bool {
        match &mut self.link {
            _ if self.open => true,
            Link::None => false,
            Link::Opening(_) => true,
            Link::Open(_, output) => !self.waiting.is_empty() || output.shutdown().await.is_ok(),
        }
    }
}

/// Once the connection is there. Safe to cancel.
async fn opened(opening: Option<&mut Connecting>) -> io::Result<TcpStream> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Some of what waits is on its way. Safe to cancel.
async fn written(output: Option<&mut OwnedWriteHalf>, waiting: &mut BytesMut) -> io::Result<usize> {
    match output {
        Some(output) if waiting.has_remaining() => output.write_buf(waiting).await,
        _ => std::future::pending().await,
    }
}

/// The next message of the server; `None` at the end. Safe to cancel.
async fn answered(input: Option<&mut FramedRead<OwnedReadHalf, LengthDelimitedCodec>>) -> Option<io::Result<BytesMut>> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}
