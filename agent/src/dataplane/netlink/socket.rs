//! A NETLINK_NETFILTER socket. The kernel answers within `send`, so nothing here waits for anybody.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::wire::{ACK, DUMP, DUMP_INTR, Message, Writer, attrs, messages, ne32};

/// `NLMSG_ERROR` and `NLMSG_DONE` (linux/netlink.h).
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_ACK_TLVS`: an error message carries attributes; `NLMSGERR_ATTR_MSG` among them.
const ACK_TLVS: u16 = 0x200;
const ERROR_TEXT: u16 = 1;
/// `struct nlmsgerr` with the offending message capped to its header (`NETLINK_CAP_ACK`).
const NLMSGERR: usize = 20;

/// Room for one datagram: the kernel fills at most 32 KiB of a dump at a time.
const DATAGRAM: usize = 1 << 16;
/// Room for answers: an error for each of some ten thousand messages.
const RECEIVE_BUFFER: usize = 4 << 20;
/// A dump is answered within the call; this only ends a wait that should not be.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a dump that saw two generations is begun again.
const DUMP_ATTEMPTS: usize = 8;

/// What the kernel says against one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The message's sequence number; 0 is the batch itself.
    pub(crate) seq: u32,
    pub(crate) errno: Errno,
    /// The kernel's own words, where it has any.
    pub(crate) text: Option<String>,
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// It could not be sent, or its answers could not be read.
    Io(io::Error),
    /// The kernel refused messages of it, at least one.
    Refused(Refusal, Vec<Refusal>),
    /// The kernel said nothing of it.
    Unanswered,
}

/// The socket.
pub(crate) struct NfSocket {
    socket: Socket,
    port: u32,
    requests: u32,
    datagram: Vec<u8>,
}

impl NfSocket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT.as_secs().cast_signed(), 0))?;
        Ok(Self { socket, port, requests: 0, datagram: vec![0; DATAGRAM] })
    }

    /// The socket's port id, by which others see whose change it was.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Sends a batch that ends in a message with `NLM_F_ACK`, and reads what the kernel says of it.
    pub(crate) fn transact(&mut self, batch: &[u8]) -> Result<(), BatchError> {
        let refused = self.submit(batch).map_err(BatchError::Io)?;
        let (acknowledged, mut refused): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|r| r.errno == Errno::UnknownErrno);
        match (refused.is_empty(), acknowledged.is_empty()) {
            (false, _) => Err(BatchError::Refused(refused.remove(0), refused)),
            (true, false) => Ok(()),
            (true, true) => Err(BatchError::Unanswered),
        }
    }

    /// Sends a batch and reads the answers that wait; `UnknownErrno` (zero) is an acknowledgement.
    pub(crate) fn submit(&mut self, batch: &[u8]) -> io::Result<Vec<Refusal>> {
        self.send(batch)?;
        let mut answers = Vec::new();
        loop {
            match recv(self.fd(), &mut self.datagram, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    let datagram = self.datagram.get(..length).unwrap_or_default();
                    answers.extend(messages(datagram).filter(|m| m.kind == ERROR).filter_map(|m| refusal(&m)));
                }
                Err(Errno::EAGAIN) => return Ok(answers),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Asks for one object; `None` if there is none.
    pub(crate) fn get(
        &mut self,
        kind: u16,
        family: u8,
        body: impl Fn(&mut Writer),
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<Option<()>> {
        match self.request(kind, ACK, family, &body, &mut each) {
            Ok(_) => Ok(Some(())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Asks for all objects, whole and of one generation.
    pub(crate) fn dump(&mut self, kind: u16, family: u8, body: impl Fn(&mut Writer)) -> io::Result<Vec<u8>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut bytes = Vec::new();
            let mut raw = |datagram: &[u8]| bytes.extend_from_slice(datagram);
            if self.exchange(kind, DUMP, family, &body, &mut raw)? {
                return Ok(bytes);
            }
        }
        Err(Errno::EINTR.into())
    }

    /// Walks all objects; those that change while it walks may be missed or seen twice.
    pub(crate) fn walk(
        &mut self,
        kind: u16,
        family: u8,
        body: impl Fn(&mut Writer),
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.request(kind, DUMP, family, &body, &mut each)?;
        Ok(())
    }

    fn request(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        body: &dyn Fn(&mut Writer),
        each: &mut dyn FnMut(&Message<'_>),
    ) -> Result<bool, Errno> {
        self.exchange(kind, flags, family, body, &mut |datagram| {
            messages(datagram).filter(|message| message.kind > DONE).for_each(|message| each(&message));
        })
    }

    /// Sends a request and hands on each datagram of its answer; false if the answer is of two generations.
    fn exchange(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        body: &dyn Fn(&mut Writer),
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Errno> {
        self.requests = self.requests.wrapping_add(1) | 1 << 31;
        let seq = self.requests;
        let mut writer = Writer::default();
        writer.message(kind, flags, seq, (family, 0), body);
        self.send(writer.bytes()).map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let mut whole = true;
        loop {
            let length = match recv(self.fd(), &mut self.datagram, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                answer => answer?,
            };
            let datagram = self.datagram.get(..length).unwrap_or_default();
            if messages(datagram).next().is_none_or(|message| message.seq != seq) {
                continue;
            }
            whole &= messages(datagram).all(|message| message.flags & DUMP_INTR == 0);
            each(datagram);
            match messages(datagram).find(|message| message.kind == ERROR || message.kind == DONE) {
                Some(end) if end.kind == DONE => return Ok(whole),
                Some(end) => match refusal(&end).map(|refusal| refusal.errno) {
                    None | Some(Errno::UnknownErrno) => return Ok(whole),
                    Some(errno) => return Err(errno),
                },
                None => {}
            }
        }
    }

    /// The whole batch must fit the send buffer.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let room = bytes.len().saturating_mul(2).max(1 << 18);
        setsockopt(&self.socket, sockopt::SndBufForce, &room)?;
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl std::fmt::Debug for NfSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NfSocket").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Reads `struct nlmsgerr`: a negative errno, the offending message's header, attributes.
fn refusal(message: &Message<'_>) -> Option<Refusal> {
    let errno = ne32(message.payload)?.cast_signed().wrapping_neg();
    let seq = ne32(message.payload.get(12..)?)?;
    let tail = message.payload.get(NLMSGERR..).filter(|_| message.flags & ACK_TLVS != 0);
    let text = attrs(tail.unwrap_or_default()).find(|(kind, _)| *kind == ERROR_TEXT);
    let text = text.map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    Some(Refusal { seq, errno: Errno::from_raw(errno), text })
}
