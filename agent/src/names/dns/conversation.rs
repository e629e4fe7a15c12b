//! One client's TCP connection. Mesh names are answered here; the rest goes over one connection to the server that was
//! asked, opened with the first such query, and every message comes back as it is, of a zone transfer as many as there are.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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

/// The connection to the server that was asked.
enum Link {
    /// Nothing was to be relayed yet.
    None,
    /// On its way.
    Opening(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
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

impl Link {
    /// Once it is open. Safe to cancel.
    async fn opened(&mut self) -> io::Result<TcpStream> {
        match self {
            Self::Opening(opening) => opening.await,
            Self::None | Self::Open(..) => std::future::pending().await,
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
    async fn answer(
        input: Option<&mut FramedRead<OwnedReadHalf, LengthDelimitedCodec>>,
    ) -> Option<io::Result<BytesMut>> {
        match input {
            Some(input) => input.next().await,
            None => std::future::pending().await,
        }
    }
}

/// Serves a connection until the client has closed and has its answers, the server closes, either breaks the framing, or
/// nothing is said for long.
pub(super) async fn converse(mut stream: TcpStream, place: Place, responder: &Responder) {
    let (input, output) = stream.split();
    let mut queries = framing().new_read(input);
    let mut answers = framing().new_write(output);
    let (mut link, mut waiting, mut open) = (Link::None, BytesMut::new(), true);
    loop {
        let next = {
            // Those that wait for their server are bounded; further ones wait in the socket.
            let reads = open && waiting.len() <= MAX_MESSAGE;
            let (mut opening, mut from, mut to) = (None, None, None);
            match &mut link {
                Link::Open(input, output) => (from, to) = (Some(input), Some(output)),
                link @ Link::Opening(_) => opening = Some(link),
                Link::None => {}
            }
            let opened = async {
                match opening {
                    Some(link) => link.opened().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                query = queries.next(), if reads => Next::Query(query),
                opened = opened => Next::Opened(opened),
                written = Link::written(to, &mut waiting) => Next::Written(written),
                answer = Link::answer(from) => Next::Answer(answer),
                () = sleep(IDLE) => Next::Idle,
            }
        };
        let answer = match next {
            Next::Query(Some(Ok(query))) => match responder.receive(place, &query) {
                QueryOutcome::Silence => return,
                QueryOutcome::Reply(answer) => Some(answer),
                QueryOutcome::Relay => {
                    let Some(server) = responder.server(place) else { return };
                    let Ok(length) = u16::try_from(query.len()) else { return };
                    waiting.put_u16(length);
                    waiting.extend_from_slice(&query);
                    if matches!(link, Link::None) {
                        link = Link::Opening(Box::pin(responder.forwarder.connect(server)));
                    }
                    None
                }
            },
            Next::Query(None) => {
                open = false;
                None
            }
            Next::Opened(Ok(stream)) => {
                let (input, output) = stream.into_split();
                link = Link::Open(framing().new_read(input), output);
                None
            }
            Next::Opened(Err(error)) | Next::Written(Err(error)) => {
                debug!(%error, "name server cannot be reached");
                return;
            }
            Next::Written(Ok(_)) => None,
            Next::Answer(Some(Ok(answer))) => {
                responder.relayed(&answer);
                Some(answer.to_vec())
            }
            Next::Query(Some(Err(_))) | Next::Answer(None | Some(Err(_))) | Next::Idle => return,
        };
        if let Some(answer) = answer
            && !matches!(timeout(IDLE, answers.send(answer.as_slice())).await, Ok(Ok(())))
        {
            return;
        }
        if !open && !ends(&mut link, &waiting).await {
            return;
        }
    }
}

/// The client has said all it wants: tells the server so once it knows everything. False where nothing is to come.
async fn ends(link: &mut Link, waiting: &BytesMut) -> bool {
    match link {
        Link::None => false,
        Link::Opening(_) => true,
        Link::Open(_, output) => !waiting.is_empty() || output.shutdown().await.is_ok(),
    }
}
