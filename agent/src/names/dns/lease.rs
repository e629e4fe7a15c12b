//! Fail open: the kernel captures containers' queries only while a lease lasts, and the lease is renewed only after the
//! resolver has answered a real query of our own, over the listeners that the containers' queries reach.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, RecordType};
use socket2::SockRef;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior, timeout};
use tracing::{info, warn};

use super::forward::framing;
use super::message::LEASE_NAME;
use super::resolver_state::ResolverState;
use super::transport::Transport;
use crate::model::publish::change;
use crate::model::{AliasName, Family, error_chain};

/// How often the lease is renewed. Three attempts fit the 5 s that it lasts.
const EVERY: Duration = Duration::from_millis(1300);
/// How long an answer or a renewal may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Every so many renewals, the first included, TCP is asked too.
const TCP_EVERY: u32 = 8;

/// The lease on the capture, as the dataplane keeps it.
pub trait Lease: Send {
    /// Why a renewal failed.
    type Error: std::error::Error + Send + 'static;

    /// Lets the kernel capture for another 5 seconds. Given up after a second.
    ///
    /// # Errors
    /// When the kernel's set could not be changed; tried again at the next turn.
    fn renew(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Why the lease was not renewed.
#[derive(Debug, thiserror::Error)]
enum LeaseError<E: std::error::Error + 'static> {
    /// Our own query got no answer, or not the right one.
    #[error("the resolver does not answer over {transport}")]
    Deaf { transport: Transport, source: io::Error },
    /// The renewal itself.
    #[error("the dataplane cannot renew it")]
    Renewal(#[source] E),
    /// The renewal took too long.
    #[error("the dataplane did not renew it within {PATIENCE:?}")]
    Late,
}

/// Asks the resolver whether it works.
pub(super) trait Probe {
    /// Asks once; an error when the answer is missing or wrong.
    fn ask(&self, transport: Transport) -> impl Future<Output = io::Result<()>> + Send;
}

/// Renews the lease at once and then from time to time, for as long as the probe is answered. Never returns.
pub(super) async fn keep<P: Probe, L: Lease>(probe: P, mut lease: L, state: &watch::Sender<ResolverState>) {
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = 0_u32;
    let mut held = None;
    loop {
        ticks.tick().await;
        let outcome = turn(&probe, &mut lease, renewed.is_multiple_of(TCP_EVERY)).await;
        // After a failure both transports must answer.
        renewed = if outcome.is_ok() { renewed.wrapping_add(1) } else { 0 };
        if held != Some(outcome.is_ok()) {
            held = Some(outcome.is_ok());
            note(state, outcome.is_ok());
            match &outcome {
                Ok(()) => info!("DNS capture lease renewed; containers' DNS queries are answered here"),
                Err(fault) => {
                    let error = error_chain(fault);
                    warn!(%error,
                        "DNS capture lease not renewed; containers' DNS queries go to their own name servers");
                }
            }
        }
    }
}

async fn turn<P: Probe, L: Lease>(probe: &P, lease: &mut L, tcp: bool) -> Result<(), LeaseError<L::Error>> {
    for transport in [Transport::Udp, Transport::Tcp] {
        if transport == Transport::Udp || tcp {
            let asked = timeout(PATIENCE, probe.ask(transport)).await;
            let answered = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            answered.map_err(|source| LeaseError::Deaf { transport, source })?;
        }
    }
    timeout(PATIENCE, lease.renew()).await.map_err(|_| LeaseError::Late)?.map_err(LeaseError::Renewal)
}

fn note(state: &watch::Sender<ResolverState>, now: bool) {
    change(state, |state| {
        if let ResolverState::Listening { leased, .. } = state {
            *leased = now;
        }
    });
}

/// The probe that counts: queries to our own listeners.
#[derive(Debug)]
pub struct SelfQuery {
    address: SocketAddr,
    /// The packet mark by which the kernel lets the agent itself reach the listeners, which refuse strangers.
    mark: Option<u32>,
}

impl SelfQuery {
    /// Asks the resolver at this address, by packets with this mark ([`crate::dataplane::AGENT_MARK`] where the kernel
    /// guards the address).
    #[must_use]
    pub fn new(address: SocketAddr, mark: Option<u32>) -> Self {
        Self { address, mark }
    }

    /// Asks whether the resolver works: over UDP, then over TCP. Waits as long as it takes.
    pub(crate) async fn works(&self) -> io::Result<()> {
        self.ask(Transport::Udp).await?;
        self.ask(Transport::Tcp).await
    }

    /// The address of a family that the resolver gives for a name; `None`: it knows the name and has none. Waits as long as
    /// it takes.
    pub(crate) async fn resolve(&self, name: &AliasName, family: Family) -> io::Result<Option<IpAddr>> {
        let kind = if family == Family::V4 { RecordType::A } else { RecordType::AAAA };
        let answer = self.exchange(Transport::Udp, name.as_str(), kind).await?;
        Ok(answer.answers.iter().find_map(|record| match record.data {
            RData::A(A(address)) => Some(address.into()),
            RData::AAAA(AAAA(address)) => Some(address.into()),
            _ => None,
        }))
    }

    /// The answer to a query for a name's records of a kind; an error where its code is one.
    async fn exchange(&self, transport: Transport, name: &str, kind: RecordType) -> io::Result<Message> {
        let mut query = Message::query();
        query.queries.push(Query::query(Name::from_ascii(name).map_err(io::Error::other)?, kind));
        let bytes = query.to_vec().map_err(io::Error::other)?;
        let answer = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((Family::of(self.address.ip()).unspecified(), 0)).await?;
                self.mark(SockRef::from(&socket))?;
                socket.connect(self.address).await?;
                socket.send(&bytes).await?;
                let mut answer = Vec::with_capacity(512);
                socket.recv_buf(&mut answer).await?;
                answer
            }
            Transport::Tcp => {
                let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                self.mark(SockRef::from(&socket))?;
                let mut frames = framing().new_framed(socket.connect(self.address).await?);
                frames.send(bytes.as_slice()).await?;
                frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)??.into()
            }
        };
        let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(answer),
            code => Err(io::Error::other(format!("response code {code}"))),
        }
    }

    fn mark(&self, socket: SockRef<'_>) -> io::Result<()> {
        self.mark.map_or(Ok(()), |mark| socket.set_mark(mark))
    }
}

impl Probe for SelfQuery {
    async fn ask(&self, transport: Transport) -> io::Result<()> {
        self.exchange(transport, LEASE_NAME, RecordType::A).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
