//! Netlink as nfnetlink speaks it: messages, attributes, and a socket that sends batches and reads dumps.
//!
//! Numbers come from the kernel's `linux/netlink.h` and `linux/netfilter/nfnetlink.h`.

mod listener;
mod socket;
pub(crate) mod wire;

pub(crate) use listener::{Listener, bpf};
pub(crate) use socket::{BatchError, NfSocket};
pub(crate) use wire::{Batch, Message, Writer, attrs, be32, find, messages, nfproto};
