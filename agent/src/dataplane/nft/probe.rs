//! Asks the kernel what it can do, by transactions that it checks and never applies.

use super::NftError;
use super::skeleton::Skeleton;
use crate::dataplane::netlink::NfSocket;
use crate::model::VipCidr;
use nix::errno::Errno;

/// Something that the data plane needs of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// What it is, in nft's words.
    pub name: &'static str,
    /// Whether the kernel has it.
    pub ok: bool,
    /// Why not, and what to do; empty if it has.
    pub why: String,
}

/// Tries every kind of expression that the skeleton uses. The transactions lack their end (`NFNL_MSG_BATCH_END`), so
/// the kernel checks every message and then forgets them.
///
/// # Errors
/// No netlink socket could be had.
pub fn probe(range: VipCidr) -> Result<Vec<Capability>, NftError> {
    let mut socket = NfSocket::open().map_err(NftError::Socket)?;
    let trials = Skeleton::new(range, true).trials().into_iter().map(|(name, batch)| {
        let refusals = socket.submit(&batch.rehearsal()).map_err(NftError::Socket)?;
        let why = refusals.into_iter().next().map(|refusal| {
            let text = refusal.text.map(|text| format!(": {text}")).unwrap_or_default();
            format!("{}{text}; {}", refusal.errno.desc(), remedy(refusal.errno))
        });
        Ok(Capability { name, ok: why.is_none(), why: why.unwrap_or_default() })
    });
    trials.collect()
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => "give the agent CAP_NET_ADMIN in the host's network namespace",
        Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => "the kernel lacks it, or may not load its module",
        _ => "the kernel does not take it",
    }
}
