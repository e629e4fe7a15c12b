//! A backend in memory: holds what the kernel would hold, refuses what it would refuse, and walks packets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imbl::{OrdMap, OrdSet};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backend::{Backend, ForeignChange, Found, Lease};
use super::plan::{Change, Member, Plan};
use crate::model::{Clients, DNS_PORT, Family, Frontend, IfName, QueryPath, Ruleset, VipRanges};

/// Why a plan cannot be applied; the kernel's errno in brackets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MemoryError {
    /// There is no table (ENOENT).
    #[error("there is no table")]
    NoTable,
    /// What was to be changed is not there, or is not what the plan takes it for (ENOENT).
    #[error("{0} is not there as the plan says")]
    Absent(String),
    /// What was to be added is there already (EEXIST).
    #[error("{0} is there already")]
    Exists(String),
}

/// Who sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// A container, whose packets come from a bridge that has clients.
    Container,
    /// One that has name servers of its own.
    OwnDns,
    /// The host itself.
    Host,
}

/// Where a connection's first packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// At this address: an endpoint's, or the dialled one where the mesh leaves it alone.
    Reaches(SocketAddr),
    /// Nowhere: a TCP reset or an ICMP port unreachable comes back.
    IsRefused,
}

/// What outlives a backend: the kernel's memory, as it were. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    held: Arc<Mutex<Option<Held>>>,
    tampered: Arc<Notify>,
}

#[derive(Debug, Clone)]
struct Held {
    ruleset: Ruleset,
    leases: Vec<(QueryPath, Instant)>,
}

/// Where containers' packets come from, for [`Client::Container`].
pub(super) fn bridge() -> Clients {
    IfName::new("br0").map_or(Clients::Host, Clients::Bridge)
}

fn ends(leases: &[Lease]) -> Vec<(QueryPath, Instant)> {
    leases.iter().map(|(path, rest)| (path.clone(), Instant::now() + *rest)).collect()
}

impl Store {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody else throws all of it away.
    pub(super) fn flush(&self) {
        *self.held() = None;
        self.tampered.notify_one();
    }

    /// Somebody else throws all of it away, and nobody tells.
    pub(super) fn vanish(&self) {
        *self.held() = None;
    }

    /// The ruleset that is held.
    pub(super) fn ruleset(&self) -> Option<Ruleset> {
        self.held().as_ref().map(|held| held.ruleset.clone())
    }

    /// Somebody else changes a little of it.
    pub(super) fn tamper(&self) {
        if let Some(held) = &mut *self.held() {
            held.ruleset.bridges = OrdSet::default();
        }
        self.tampered.notify_one();
    }

    /// Walks the first packet of a connection; `draw(n)` picks a number below `n`.
    pub(super) fn walk(
        &self,
        ranges: VipRanges,
        client: Client,
        to: Frontend,
        draw: impl FnOnce(usize) -> usize,
    ) -> Fate {
        let held = self.held();
        let Some(Held { ruleset, leases }) = &*held else { return Fate::Reaches(to.address()) };
        let from = if client == Client::Host { Clients::Host } else { bridge() };
        let path = QueryPath { from, l4: to.l4 };
        let leased = leases.iter().any(|(of, end)| *of == path && *end > Instant::now()) && to.port.get() == DNS_PORT;
        let captured = match client {
            Client::Container => ruleset.resolvers.get(&to.vip),
            Client::OwnDns => None,
            Client::Host => ruleset.host_resolvers.get(&to.vip),
        };
        match (ranges.get(Family::of(to.vip)), captured.filter(|_| leased)) {
            (Some(range), Some(port)) => Fate::Reaches(SocketAddr::new(range.resolver(), *port)),
            (Some(range), None) if range.contains(to.vip) => {
                let slots = ruleset.frontends.get(&to);
                slots.map_or(Fate::IsRefused, |slots| Fate::Reaches(slots[draw(slots.len())]))
            }
            _ => Fate::Reaches(to.address()),
        }
    }
}

/// The backend.
#[derive(Debug)]
pub(super) struct Memory(Store);

impl Memory {
    /// Changes nothing yet.
    pub(super) fn open(store: &Store) -> Self {
        Self(store.clone())
    }
}

impl Backend for Memory {
    type Error = MemoryError;

    const NAME: &'static str = "memory";

    fn adopt(&mut self) -> Result<Found, MemoryError> {
        Ok(self.0.held().as_ref().map_or(Found::Nothing, |held| Found::Ours(held.ruleset.clone())))
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), MemoryError> {
        let mut held = self.0.held();
        let held = held.as_mut().ok_or(MemoryError::NoTable)?;
        let mut next = held.ruleset.clone();
        plan.changes.iter().try_for_each(|change| make(&mut next, change))?;
        held.ruleset = next;
        Ok(())
    }

    fn install(&mut self, ruleset: &Ruleset, leases: &[Lease]) -> Result<(), MemoryError> {
        *self.0.held() = Some(Held { ruleset: ruleset.clone(), leases: ends(leases) });
        Ok(())
    }

    fn audit(&mut self) -> Result<bool, MemoryError> {
        Ok(self.0.held().is_some())
    }

    async fn foreign_change(&mut self) -> Result<ForeignChange, MemoryError> {
        self.0.tampered.notified().await;
        Ok(ForeignChange { what: "change memory".to_owned(), who: "a test".to_owned() })
    }

    fn set_leases(&mut self, leases: &[Lease]) -> Result<(), MemoryError> {
        let mut held = self.0.held();
        held.as_mut().ok_or(MemoryError::NoTable)?.leases = ends(leases);
        Ok(())
    }

    fn remove(&mut self) -> Result<(), MemoryError> {
        *self.0.held() = None;
        Ok(())
    }
}

fn make(ruleset: &mut Ruleset, change: &Change) -> Result<(), MemoryError> {
    match change {
        Change::Serve { frontend, old, new } => {
            if ruleset.frontends.get(frontend) != old.as_ref() {
                return Err(MemoryError::Absent(frontend.address().to_string()));
            }
            match new {
                Some(new) => ruleset.frontends.insert(*frontend, new.clone()),
                None => ruleset.frontends.remove(frontend),
            };
            Ok(())
        }
        Change::Add(member) => match set(ruleset, member, true) {
            true => Err(MemoryError::Exists(member.to_string())),
            false => Ok(()),
        },
        Change::Remove(member) => match set(ruleset, member, false) {
            true => Ok(()),
            false => Err(MemoryError::Absent(member.to_string())),
        },
    }
}

/// Whether the member was there before.
fn set(ruleset: &mut Ruleset, member: &Member, there: bool) -> bool {
    fn put<T: Ord + Clone>(set: &mut OrdSet<T>, item: &T, there: bool) -> bool {
        if there { set.insert(item.clone()).is_some() } else { set.remove(item).is_some() }
    }
    fn map(map: &mut OrdMap<IpAddr, u16>, address: IpAddr, port: u16, there: bool) -> bool {
        let before = if there { map.insert(address, port) } else { map.remove(&address) };
        before.is_some_and(|before| there || before == port)
    }
    match member {
        Member::Bridge(name) => put(&mut ruleset.bridges, name, there),
        Member::Local(address) => put(&mut ruleset.locals, address, there),
        Member::Resolver(address, port) => map(&mut ruleset.resolvers, *address, *port, there),
        Member::HostResolver(address, port) => map(&mut ruleset.host_resolvers, *address, *port, there),
        Member::Uncaptured(address) => put(&mut ruleset.uncaptured, address, there),
        Member::Closed(from, to) => put(&mut ruleset.closed, &(from.clone(), to.clone()), there),
    }
}
