//! A NETLINK_NETFILTER socket that listens to multicast groups.

use std::fmt;
use std::future::poll_fn;
use std::io;

use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

/// Classic BPF's instructions (linux/bpf_common.h) as far as filters here use them. Loads are in network order.
pub(crate) mod bpf {
    /// `BPF_LD | BPF_B | BPF_ABS`.
    pub(crate) const LOAD_BYTE: u16 = 0x30;
    /// `BPF_LD | BPF_W | BPF_ABS`.
    pub(crate) const LOAD_WORD: u16 = 0x20;
    /// `BPF_ALU | BPF_AND | BPF_K`.
    pub(crate) const AND: u16 = 0x54;
    /// `BPF_JMP | BPF_JEQ | BPF_K`.
    pub(crate) const JUMP_IF_EQUAL: u16 = 0x15;
    /// `BPF_RET | BPF_K`: how many bytes pass.
    pub(crate) const RETURN: u16 = 0x06;
}

/// Room for one datagram.
const DATAGRAM: usize = 1 << 16;

/// The socket.
pub(crate) struct Listener {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl Listener {
    /// Listens from now on, in the calling thread's network namespace, to what passes the filter (classic BPF; empty:
    /// all). `room`: bytes of datagrams that may wait to be read.
    ///
    /// Must be called within a runtime.
    pub(crate) fn open(groups: &[u32], room: usize, filter: &[SockFilter]) -> io::Result<Self> {
        let mut listener = TokioSocket::new(NETLINK_NETFILTER)?;
        let socket = listener.socket_mut();
        socket.bind(&SocketAddr::new(0, 0))?;
        setsockopt(socket, sockopt::RcvBufForce, &room)?;
        if !filter.is_empty() {
            SockRef::from(&*socket).attach_filter(filter)?;
        }
        groups.iter().try_for_each(|group| socket.add_membership(*group))?;
        Ok(Self { socket: listener, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for the next datagram. Safe to cancel. ENOBUFS: there was no room, some are lost.
    pub(crate) async fn next(&mut self) -> io::Result<&[u8]> {
        self.datagram.clear();
        poll_fn(|cx| self.socket.poll_recv(cx, &mut self.datagram)).await?;
        Ok(&self.datagram)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
