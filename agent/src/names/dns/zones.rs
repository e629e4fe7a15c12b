//! Which names are the mesh's to answer, and what is the case with them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Query;
use hickory_proto::rr::{DNSClass, Name};

use super::asker::Asker;
use crate::model::{AliasName, DualStack, Namespace, VipRanges};
use crate::names::served::Served;

/// The namespaces that are dialled here, and where VIPs come from.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    zones: Vec<Zone>,
    ranges: VipRanges,
}

/// A namespace as a DNS zone.
#[derive(Debug, Clone)]
struct Zone {
    labels: Vec<Box<[u8]>>,
    /// Whether nobody else knows names below it, so that one that is not known here does not exist.
    ours_alone: bool,
}

/// What is the case with a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has these addresses.
    Vips(DualStack),
    /// It is the reverse of a VIP, whose name this is.
    Pointer(AliasName),
    /// It is ours, and is there without records of its own.
    Empty,
    /// It is ours, and is not there; the zone that says so.
    Absent(Name),
    /// It is ours, and nobody knows yet.
    Unknown,
    /// It is for others to answer.
    Foreign,
}

impl Zones {
    /// The zones of these namespaces. A name below one of a single label is nobody else's; below one with a dot the same
    /// only where `authoritative`, since it may be a zone of Route 53, too.
    #[must_use]
    pub fn new<'a>(
        namespaces: impl IntoIterator<Item = &'a Namespace>,
        authoritative: bool,
        ranges: VipRanges,
    ) -> Self {
        let zone = |namespace: &Namespace| {
            let labels: Vec<Box<[u8]>> = namespace.as_str().split('.').map(|label| label.as_bytes().into()).collect();
            Zone { ours_alone: authoritative || labels.len() == 1, labels }
        };
        Self { zones: namespaces.into_iter().map(zone).collect(), ranges }
    }

    /// What is the case with the name that is asked for. `served`: what is known; `None` before anything is.
    pub(super) fn standing(&self, asker: Asker, question: &Query, served: Option<&Served>) -> Standing {
        if question.query_class != DNSClass::IN {
            return Standing::Foreign;
        }
        let labels: Vec<&[u8]> = question.name.iter().collect();
        if let Some(vip) = reversed(&labels).filter(|vip| self.ranges.contains(*vip)) {
            let Some(served) = served else { return Standing::Unknown };
            let name = served.holders.get(&vip).and_then(|service| service.qualified().ok());
            return name.map_or_else(|| Standing::Absent(question.name.base_name()), Standing::Pointer);
        }
        let below = self.zones.iter().any(|zone| zone.holds(&labels) && zone.labels.len() < labels.len());
        if (asker == Asker::Container || below)
            && let Some(vips) = alias(&labels).and_then(|alias| served?.names.get(&alias))
        {
            return Standing::Vips(*vips);
        }
        let ours = self.zones.iter().filter(|zone| zone.ours_alone && zone.holds(&labels));
        let Some(zone) = ours.max_by_key(|zone| zone.labels.len()) else { return Standing::Foreign };
        match served {
            None => Standing::Unknown,
            Some(_) if zone.labels.len() == labels.len() => Standing::Empty,
            Some(_) => Standing::Absent(question.name.trim_to(zone.labels.len())),
        }
    }
}

impl Zone {
    /// Whether a name is the zone's own, or lies below it.
    fn holds(&self, labels: &[&[u8]]) -> bool {
        let mut pairs = self.labels.iter().rev().zip(labels.iter().rev());
        labels.len() >= self.labels.len() && pairs.all(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs))
    }
}

/// The alias that a name could be: written as aliases are, but for case.
fn alias(labels: &[&[u8]]) -> Option<AliasName> {
    // On the wire a label may hold a dot; such a name is no alias, however it would read when joined.
    let label = |label: &&[u8]| std::str::from_utf8(label).ok().filter(|text| !text.contains('.')).map(str::to_owned);
    let labels: Vec<String> = labels.iter().map(label).collect::<Option<_>>()?;
    labels.join(".").to_ascii_lowercase().parse().ok()
}

/// The address whose reverse a name is (RFC 1035 3.5, RFC 3596 2.5).
fn reversed(labels: &[&[u8]]) -> Option<IpAddr> {
    let (last, rest) = labels.split_last()?;
    let (zone, digits) = rest.split_last()?;
    if !last.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let text = |label: &[u8]| std::str::from_utf8(label).ok().map(str::to_owned);
    if zone.eq_ignore_ascii_case(b"in-addr") && digits.len() == 4 {
        let octets: Vec<String> = digits.iter().rev().map(|label| text(label)).collect::<Option<_>>()?;
        return octets.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::from);
    }
    if zone.eq_ignore_ascii_case(b"ip6") && digits.len() == 32 && digits.iter().all(|label| label.len() == 1) {
        let nibbles: String = digits.iter().rev().map(|label| text(label)).collect::<Option<_>>()?;
        return u128::from_str_radix(&nibbles, 16).ok().map(|bits| Ipv6Addr::from(bits).into());
    }
    None
}

#[cfg(test)]
mod tests;
