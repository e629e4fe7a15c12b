//! What goes on beside the agent.

use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Chaos {
    /// Nothing: the next effect is carried out, or, if there is none, time passes until the next tick.
    None,
    /// The next effect fails, or its answer is lost.
    Fail,
    /// The agent is killed, and started again.
    Crash,
    /// The power goes, and comes back.
    PowerCut,
    Hours(u8),
    Hold,
    Resume,
    Allow,
    Check,
    /// A new version is on offer; whether it boots, and whether the workloads do well on it.
    Offer {
        boots: bool,
        well: bool,
    },
    DiskFull(bool),
    FleetDown(bool),
    /// Another node has the lock.
    OtherNode(bool),
    /// Somebody else drives the host's updater: a refresh, prepare, activate or deactivate.
    Foreign(u8),
    /// Somebody else uses signpost.
    ForeignRollback,
    /// The operator writes `version-lock`: `latest`, what runs, the newest version or the oldest.
    ForeignLock(u8),
    /// updog cannot write images.
    BadUpdog(bool),
    /// The workloads do badly for a while, whatever runs.
    Sick(bool),
    /// The host says that it has one bank.
    OneBank(bool),
    /// The host's API does not answer.
    DeadApi(bool),
    /// Somebody else reads the host updater's state, and lets it do nothing meanwhile.
    Locked(bool),
}

pub(in super::super) fn chaos() -> impl Strategy<Value = Chaos> {
    prop_oneof![
        60 => Just(Chaos::None),
        2 => Just(Chaos::Fail),
        2 => Just(Chaos::Crash),
        2 => Just(Chaos::PowerCut),
        2 => (0..30u8).prop_map(Chaos::Hours),
        1 => Just(Chaos::Hold),
        1 => Just(Chaos::Resume),
        1 => Just(Chaos::Allow),
        1 => Just(Chaos::Check),
        3 => any::<(bool, bool)>().prop_map(|(boots, well)| Chaos::Offer { boots, well }),
        1 => any::<bool>().prop_map(Chaos::DiskFull),
        1 => any::<bool>().prop_map(Chaos::FleetDown),
        1 => any::<bool>().prop_map(Chaos::OtherNode),
        2 => (0..4u8).prop_map(Chaos::Foreign),
        1 => Just(Chaos::ForeignRollback),
        1 => (0..4u8).prop_map(Chaos::ForeignLock),
        1 => any::<bool>().prop_map(Chaos::BadUpdog),
        1 => any::<bool>().prop_map(Chaos::Sick),
        1 => any::<bool>().prop_map(Chaos::OneBank),
        2 => any::<bool>().prop_map(Chaos::DeadApi),
    ]
}
